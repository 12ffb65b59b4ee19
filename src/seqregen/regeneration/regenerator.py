"""DatasetRegenerator: the scikit-learn face of DR4SR's regenerator."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from ..callers import stacklevel_of_caller
from ..inputs import check_sequences
from ..mining import PatternMiner
from ..nn.usual_settings import with_gradients, with_usual_defaults
from ..parameters import (
    check_choice,
    check_flag,
    check_heads,
    check_integer,
    check_jobs,
    check_parts,
    check_real,
    draw_seed,
    remember_columns,
    with_plain_numbers,
)
from ..sequences import Origin, SequenceDataset
from ..training import LOSSES, TrainingPlan, resolve_device, train, with_network_on_cpu
from ..training.checkpoints import checkpoint_of, warn_of_unrepeatable_runs
from ..training.run_parameters import check_run_parameters
from ..transformers import SequenceTransformer
from .decoding import Decoded, DecodingSettings, decode
from .gate import gate_mixture, gate_use
from .network import RegeneratorNetwork, RegeneratorSettings, entropy
from .originals import with_mined_rows
from .pair_batches import PairTable, SourceRows, n_positions, source_rows
from .patterns import distinct_patterns, first_occurrences
from .pretraining import check_vectors, pairs_of, pretrained_vectors
from .report import check_has_originals, report_of, why_no_pairs
from .schedules import SCHEDULES, schedule_of

__all__ = ["DatasetRegenerator"]

_PARTS = ("original", "mined", "regenerated")


class DatasetRegenerator(SequenceTransformer, BaseEstimator):
    """Turn every sequence into several informative ones (DR4SR, KDD 2024, section 4.2).

    A Transformer encoder-decoder learns the pairs (sequence -> pattern) of a :class:`~seqregen.PatternMiner`.
    Its memory of a sequence is projected into K memories; a gate that sees the target pattern, squeezed to K
    probabilities, mixes them. Afterwards each memory of each sequence is decoded by itself.

    ``transform`` returns the original rows first and in order, then the mined rows, then the regenerated ones,
    with their origin, source row, memory and number of free steps. Rows are added, so it is meant for training
    sets; a recommender reads the original rows alone when it predicts.

    Parameters
    ----------
    n_memories : int, default=5
        K, the number of memories and of decodes a sequence (paper, appendix A.4).
    generative_rate : float, default=0.1
        gamma: probability that a step chooses among all items of the rows seen in fit rather than among the
        source's own (paper, appendix A.4).
        With 0 every regenerated row consists of items of its source.
    include : tuple of {"original", "mined", "regenerated"}, default=("original", "mined", "regenerated")
        What ``transform`` returns, always in this order. Without "original" there is no row that a regenerated one
        could name as its source: ``source`` is -1.
    item_embeddings : "pretrain", array of shape (n_items, embedding_dim) or None, default="pretrain"
        Where item vectors start: those of a :class:`~seqregen.targets.SASRec` trained on original and mined
        rows (as published), an array over the vocabulary of X, or random.
    embedding_dim : int, default=64
        Size of item vectors and states.
    n_layers : int, default=2
        Layers of encoder, decoder and gate alike.
    n_heads : int, default=2
        Heads of attention; must divide ``embedding_dim``.
    hidden_dim : int, default=256
        Size inside the feed-forward parts.
    dropout : float, default=0.5
        Share of values that is left out in training (published).
    max_epochs : int, default=40
        All of them are run; there is no early stopping (published).
    batch_size : int, default=256
        Pairs in a batch.
    batch_by : {"source", "pair"}, default="source"
        Whether batches go through the sources in random order, the pairs of one source side by side, which is encoded
        once in a batch for all of them, or through the pairs in random order (published).
    learning_rate : float, default=1e-3
        Of Adam with betas (0.9, 0.98) and epsilon 1e-9 (published).
    schedule : {"constant", "cosine", "published"}, default="cosine"
        Learning rate over the steps: constant; one half cosine from ``learning_rate`` to 0; or the published
        script's cosine that is stepped a batch and so has a period of 80 batches.
    max_source_length : int, default=48
        The last items of a sequence that are read (published).
    max_length : int, default=23
        Most items of a regenerated row (published).
    restrictive_prefix : int, default=2
        First steps that are never free (published code; the paper is silent).
    candidates : {"source", "all"}, default="source"
        What the decoder learns to choose from: the source's own items (published) or all items.
    encoder_mask : {"bidirectional", "causal", "published"}, default="bidirectional"
        What an item of the source sees. "published" is causal in training and bidirectional in decoding, the
        published code's mismatch.
    gate : {"softmax", "gumbel"}, default="gumbel"
        The paper's plain softmax (equation 3), or the code's Gumbel-softmax.
    gate_temperature, gate_temperature_decay, gate_temperature_floor : float, default=1, 0.995, 0.1
        The gate's temperature starts here, is multiplied in every step, and falls no further (published code).
    gate_entropy_weight : float, default=1.0
        Weight of the term that makes each pair choose one memory (published code).
    gate_balance_weight : float, default=0.0
        Weight of a term that spreads the pairs over the memories (not published). Without it the gate
        collapses: within two epochs all pairs choose one memory and the others stay untrained, so what
        they decode is close to random. With 1 several memories are used; in a first trial on Amazon Beauty (one
        seed) the recommender trained on the result was not better for it, so it is off by default.
    pretraining_loss : str, default="sampled_softmax"
        Loss of the SASRec that gives the item vectors; "bce" is published.
    deduplicate : bool, default=True
        Keep one of equal regenerated rows (published).
    miner : PatternMiner or None, default=None
        Used where X comes without pairs; None stands for ``PatternMiner(n_jobs=n_jobs)``.
    n_jobs : int, optional
        joblib processes that ``transform`` decodes with, on a CPU. Starting them takes seconds, more than a few
        thousand rows take; the result does not depend on them.
    device : str, default="auto"
        "auto" takes CUDA where there is one, else the CPU.
    random_state : int, RandomState or None, default=None
        An integer makes results repeat, bit for bit on one CPU.
    checkpoint_dir : path-like, optional
        Where to keep checkpoints; a fit that was interrupted goes on from there to the same result.
    verbose : bool, default=False
        Show progress bars.

    Attributes
    ----------
    vocabulary_ : ndarray of shape (n_items,)
    network_ : RegeneratorNetwork or None
        None where there was no pattern to learn from.
    history_ : list of dict
        One record an epoch: ``epoch``, ``loss``, ``gate_entropy``, ``memory_entropy``, ``seconds``,
        ``evaluation_seconds``.
    miner_ : PatternMiner or None
        The miner that was fitted because X had no pairs.
    report_ : RegenerationReport
        Of the last ``transform``.
    patterns_ : pair of int64 ndarray
        Items and offsets of the patterns that were learnt from, as item codes.
    n_pairs_ : int
        (sequence -> pattern) pairs that were learnt from.
    n_pairs_out_of_reach_ : int
        Pairs that were not, because the last ``max_source_length`` items of the sequence do not hold the pattern.
    memory_use_ : ndarray of shape (n_memories,)
        Share of each memory in the gate's choices over all pairs.
    gate_entropy_ : float
        Mean entropy of the gate's choice for a pair, in nats.
    decoding_seed_ : int
        What the free steps of ``transform`` are drawn from.

    Examples
    --------
    >>> import seqregen as sr
    >>> data = sr.datasets.make_sequences(n_sequences=200, n_items=30, random_state=0)
    >>> regenerator = sr.DatasetRegenerator(n_memories=2, max_epochs=1, item_embeddings=None, random_state=0)
    >>> regenerated = regenerator.fit_transform(data)
    >>> regenerated.n_original
    200
    """

    def __init__(
        self,
        n_memories: int = 5,
        generative_rate: float = 0.1,
        include: tuple[str, ...] = _PARTS,
        item_embeddings: Any = "pretrain",
        embedding_dim: int = 64,
        n_layers: int = 2,
        n_heads: int = 2,
        hidden_dim: int = 256,
        dropout: float = 0.5,
        max_epochs: int = 40,
        batch_size: int = 256,
        batch_by: str = "source",
        learning_rate: float = 1e-3,
        schedule: str = "cosine",
        max_source_length: int = 48,
        max_length: int = 23,
        restrictive_prefix: int = 2,
        candidates: str = "source",
        encoder_mask: str = "bidirectional",
        gate: str = "gumbel",
        gate_temperature: float = 1.0,
        gate_temperature_decay: float = 0.995,
        gate_temperature_floor: float = 0.1,
        gate_entropy_weight: float = 1.0,
        gate_balance_weight: float = 0.0,
        pretraining_loss: str = "sampled_softmax",
        deduplicate: bool = True,
        miner: Any = None,
        n_jobs: int | None = None,
        device: str = "auto",
        random_state: Any = None,
        checkpoint_dir: Any = None,
        verbose: bool = False,
    ) -> None:
        self.n_memories = n_memories
        self.generative_rate = generative_rate
        self.include = include
        self.item_embeddings = item_embeddings
        self.embedding_dim = embedding_dim
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.hidden_dim = hidden_dim
        self.dropout = dropout
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.batch_by = batch_by
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.max_source_length = max_source_length
        self.max_length = max_length
        self.restrictive_prefix = restrictive_prefix
        self.candidates = candidates
        self.encoder_mask = encoder_mask
        self.gate = gate
        self.gate_temperature = gate_temperature
        self.gate_temperature_decay = gate_temperature_decay
        self.gate_temperature_floor = gate_temperature_floor
        self.gate_entropy_weight = gate_entropy_weight
        self.gate_balance_weight = gate_balance_weight
        self.pretraining_loss = pretraining_loss
        self.deduplicate = deduplicate
        self.miner = miner
        self.n_jobs = n_jobs
        self.device = device
        self.random_state = random_state
        self.checkpoint_dir = checkpoint_dir
        self.verbose = verbose

    @classmethod
    def reference(cls, **changes: Any) -> DatasetRegenerator:
        """Make a regenerator that does what the published script does.

        Every free choice of the published code where it differs from the paper: generative rate 1 after two
        restricted steps, an encoder that is causal in training only, a Gumbel gate with an entropy term and
        nothing that spreads it, a learning rate with a period of 80 batches, BCE pretraining. One thing is not done:
        the script writes the original rows twice; the file that its authors distribute, and ``transform``, have them
        once.

        Parameters
        ----------
        **changes
            Parameters that are to be otherwise.

        Returns
        -------
        DatasetRegenerator
            Not fitted.
        """
        published: dict[str, Any] = {
            "generative_rate": 1.0,
            "batch_by": "pair",
            "encoder_mask": "published",
            "schedule": "published",
            "pretraining_loss": "bce",
        }
        return cls(**(published | changes))

    # Learning

    @with_plain_numbers
    @with_gradients
    def fit(self, X: Any, y: Any = None) -> DatasetRegenerator:
        """Learn the pairs of the original rows of X.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset
            Best with pairs, as :meth:`PatternMiner.transform` returns; without them a miner is fitted first.
            ``X.validation`` is never read.
        y : ignored
            Present for scikit-learn's conventions; never read.

        Returns
        -------
        self
        """
        self._check_parameters()
        warn_of_unrepeatable_runs(self)
        device = resolve_device(self.device)
        data = check_sequences(X, require_items=True)
        seeds = [int(seed) for seed in np.random.SeedSequence(draw_seed(self.random_state)).generate_state(4)]
        miner = self._make_miner(seeds[1] >> 1) if data.pairs is None else None
        data = data if miner is None else miner.fit_transform(data)
        check_has_originals(data, miner)
        learnt = pairs_of(data.originals())
        pairs = PairTable(self._sources(data.originals()), learnt, data.n_items)
        network, history = None, []
        memory_use, gate_entropy = np.zeros(self.n_memories), 0.0
        if len(pairs):
            network = self._make_network(data, seeds[2]).to(device)
            history = self._train(network, pairs, seeds[3], device)
            memory_use, gate_entropy = gate_use(network, pairs, self.batch_size, device)
        else:
            warnings.warn(why_no_pairs(len(learnt), self), UserWarning, stacklevel=stacklevel_of_caller())
        remember_columns(self, X)
        self.decoding_seed_ = seeds[0]
        self.vocabulary_ = data.vocabulary
        self.miner_ = miner
        self.patterns_ = distinct_patterns(learnt.pattern_items, learnt.pattern_offsets)
        self.n_pairs_, self.n_pairs_out_of_reach_ = len(pairs), len(learnt) - len(pairs)
        self.network_, self.history_ = network, history
        self.memory_use_, self.gate_entropy_ = memory_use, gate_entropy
        return self

    def _make_miner(self, seed: int) -> PatternMiner:
        miner = clone(self.miner) if self.miner is not None else PatternMiner(n_jobs=self.n_jobs)
        return miner.set_params(random_state=seed) if miner.random_state is None else miner

    def _check_decoding_parameters(self) -> None:
        """Those that ``transform`` reads."""
        for name, least in (("max_source_length", 1), ("max_length", 2), ("restrictive_prefix", 0)):
            check_integer(self, name, least)
        check_real(self, "generative_rate", 0, 1)
        check_flag(self, "deduplicate")
        check_jobs(self)
        check_parts(self, "include", _PARTS)

    def _check_parameters(self) -> None:
        self._check_decoding_parameters()
        for name in ("n_memories", "embedding_dim", "n_layers", "n_heads", "hidden_dim", "max_epochs", "batch_size"):
            check_integer(self, name, 1)
        check_real(self, "dropout", 0, 1, open_high=True)
        check_real(self, "learning_rate", 0, open_low=True)
        for name in ("gate_temperature", "gate_temperature_decay", "gate_temperature_floor"):
            check_real(self, name, 0, open_low=True)
        for name in ("gate_entropy_weight", "gate_balance_weight"):
            check_real(self, name, 0)
        check_run_parameters(self)
        check_choice(self, "schedule", SCHEDULES)
        check_choice(self, "batch_by", ("source", "pair"))
        check_choice(self, "candidates", ("source", "all"))
        check_choice(self, "encoder_mask", ("bidirectional", "causal", "published"))
        check_choice(self, "gate", ("softmax", "gumbel"))
        check_choice(self, "pretraining_loss", LOSSES)
        given = self.item_embeddings
        if isinstance(given, str) and given != "pretrain":
            raise ValueError(f"item_embeddings must be 'pretrain', an array or None; got {given!r}.")
        if self.miner is not None and not isinstance(self.miner, PatternMiner):
            raise TypeError(f"DatasetRegenerator: miner must be a PatternMiner or None; got {self.miner!r}.")
        check_heads(self)

    def _sources(self, originals: SequenceDataset) -> SourceRows:
        return source_rows(originals.items, originals.offsets, originals.n_items, self.max_source_length)

    def _make_network(self, data: SequenceDataset, seed: int) -> RegeneratorNetwork:
        settings = {name: getattr(self, name) for name in RegeneratorSettings.__annotations__ if hasattr(self, name)}
        settings |= {"n_items": data.n_items, "max_positions": n_positions(self.max_source_length, self.max_length)}
        network = RegeneratorNetwork.drawn(RegeneratorSettings(**settings), seed)
        occurs = np.bincount(data.originals().items, minlength=data.n_items + 1)[1:] > 0
        # An item that is in the catalogue but in no row, say because it was held out, is nothing to be said.
        network.is_sayable[: data.n_items] = torch.from_numpy(occurs)
        vectors = self._item_vectors(data, seed)
        if vectors is not None:
            with torch.no_grad():
                network.tokens.weight[: data.n_items] = torch.as_tensor(vectors)
        return network

    def _item_vectors(self, data: SequenceDataset, seed: int) -> np.ndarray | None:
        if self.item_embeddings is None:
            return None
        if not isinstance(self.item_embeddings, str):
            return check_vectors(self.item_embeddings, data, self.embedding_dim)
        return pretrained_vectors(
            data,
            seed=seed >> 1,
            embedding_dim=self.embedding_dim,
            n_heads=self.n_heads,
            loss=self.pretraining_loss,
            device=self.device,
            checkpoint_dir=self.checkpoint_dir,
            verbose=self.verbose,
        )

    def _train(
        self, network: RegeneratorNetwork, pairs: PairTable, seed: int, device: torch.device
    ) -> list[dict[str, float]]:
        """Train a network in place; one record an epoch."""
        n_batches = -(-len(pairs) // self.batch_size)
        checkpoint = None
        if self.checkpoint_dir is not None:
            names = ("batch_size", "batch_by", "learning_rate", "schedule", "max_epochs")
            settings = asdict(network.settings) | {name: getattr(self, name) for name in names}
            data = [pairs.rows, pairs.tokens, pairs.sources.tokens, network.tokens.weight.detach().cpu().numpy()]
            checkpoint = checkpoint_of(self, network, settings, seed, *data)
        plan = TrainingPlan(
            max_epochs=self.max_epochs,
            learning_rate=self.learning_rate,
            betas=(0.9, 0.98),
            epsilon=1e-9,
            schedule=schedule_of(self.schedule, n_batches * self.max_epochs),
            checkpoint=checkpoint,
            name="DatasetRegenerator",
            verbose=bool(self.verbose),
        )
        sample = pairs.batch(np.arange(min(len(pairs), 4 * self.batch_size)), device)

        def measure_gate() -> dict[str, float]:
            mixture = gate_mixture(network, sample)
            return {
                "gate_entropy": max(0.0, float(entropy(mixture).mean())),
                "memory_entropy": max(0.0, float(entropy(mixture.mean(0)))),
            }

        return train(
            network,
            lambda random: pairs.shuffled(self.batch_size, random, device, self.batch_by),
            network.loss,
            plan,
            seed=seed,
            device=device,
            evaluate=measure_gate,
            n_batches=n_batches,
        ).history

    # Regenerating

    @with_plain_numbers
    @with_usual_defaults
    def transform(self, X: Any) -> SequenceDataset:
        """Add mined and regenerated rows behind the original ones.

        Parameters
        ----------
        X : array-like of sequences, or SequenceDataset
            Items not seen in fit are ignored with one warning. Mined rows that it has stay as they are; where it has
            none, the patterns that were learnt from become mined rows. Rows that another kind of regenerator made stay,
            before those that are made here; rows of a DatasetRegenerator, which have a memory, are made anew.

        Returns
        -------
        SequenceDataset
            The original rows, the mined ones, and the regenerated ones, of those as many origins as ``include`` names.
        """
        check_is_fitted(self, "history_")
        self._check_decoding_parameters()
        rows = with_mined_rows(check_sequences(X, vocabulary=self.vocabulary_), self.miner_, self.patterns_)
        regenerated, source, memory = self._regenerate(rows)
        if len(source):
            rows = rows.append(
                regenerated.items,
                regenerated.offsets,
                Origin.REGENERATED,
                source=source,
                memory=memory,
                free_steps=regenerated.free_steps,
            )
        is_included = np.isin(rows.origin, [Origin[part.upper()] for part in self.include])
        return rows if is_included.all() else rows[is_included]

    def _regenerate(self, rows_before: SequenceDataset) -> tuple[Decoded, np.ndarray, np.ndarray]:
        """The regenerated rows that are kept, their source rows and their memories."""
        originals = rows_before.originals()
        nothing = Decoded(np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(0, np.int16))
        decoded, kept = nothing, np.zeros(0, dtype=np.int64)
        if self.network_ is not None:
            if n_positions(self.max_source_length, self.max_length) > self.network_.settings.max_positions:
                raise ValueError(
                    f"DatasetRegenerator: max_source_length={self.max_source_length} and max_length={self.max_length} "
                    "need more positions than the network of the last fit has; fit again."
                )
            settings = DecodingSettings(
                self.generative_rate, self.restrictive_prefix, self.max_length, self.decoding_seed_
            )
            device = next(self.network_.parameters()).device
            sources, shown = self._sources(originals), bool(self.verbose)
            decoded = decode(self.network_, sources, settings, device, n_jobs=self.n_jobs, verbose=shown)
            kept = np.flatnonzero(np.diff(decoded.offsets) >= 2)
        n_long = len(kept)
        rows = decoded.take(kept)
        if self.deduplicate and n_long:
            first = first_occurrences(rows.items, rows.offsets)
            kept, rows = kept[first], rows.take(first)
        source, memory = np.divmod(kept, len(self.memory_use_))
        self.report_ = report_of(self, rows_before, decoded, n_long, rows, memory)
        return rows, source, memory.astype(np.int16)

    def __getstate__(self) -> dict[str, Any]:
        return with_network_on_cpu(super().__getstate__())
