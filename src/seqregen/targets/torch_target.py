"""TorchTarget: any torch module that maps item codes to hidden states, as a recommender."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Self

import torch
from torch import nn

from ..parameters import check_choice
from ..sequences import SequenceDataset
from ..training import TrainingRows
from ..training.fingerprint import fingerprint
from ..training.prefixes import prefix_rows
from .base import SequentialRecommender
from .network import NextItemNetwork
from .padded_network import PaddedNetwork

__all__ = ["TorchTarget"]

_PREFIX = "module__"


class TorchTarget(SequentialRecommender):
    """Trains a torch module of your own like any other target model.

    The module maps item codes, int64 (n_rows, length) with 0 for padding, to the hidden state after each position,
    (n_rows, length, d), or after the whole row, (n_rows, d), and keeps a table of item vectors, (n_items, d), that
    states are scored against by inner products. A state must not depend on later positions, on padding, or on other
    rows; :func:`seqregen.testing.check_target` proves it. Losses, negatives, weights of positions, early stopping,
    full ranking and labels are the library's.

    Parameters
    ----------
    module : nn.Module class, other callable, or nn.Module
        A class, or a function that returns a module, is called in every fit with the keyword ``n_items`` = V (item
        codes are 1..V), with ``max_length`` where it has a parameter of that name, and with the module parameters.
        Of a module that is made already, every fit trains a copy, from the weights that it has; the rows of its
        table must follow the vocabulary of the data, whose labels are sorted unless ``vocabulary=`` orders them.
    item_table : str, optional
        Dotted path of the embedding or tensor of item vectors ("encoder.items"), or the name of a method that
        returns it: V rows, or V + 1 where row 0 is the padding's. By default it is the module's one embedding of
        that size.
    padding : {"right", "left"}, default="right"
        Where rows that are shorter than the longest of their batch are filled with 0.
    output : {"positions", "last"}, default="positions"
        What the module returns: a state for each position, (n_rows, length, d), each of which is trained on, or the
        state after the whole row alone, (n_rows, d). With "last" the module may look in both directions; every
        prefix is a training example of its own, and ``batch_size`` counts prefixes.
    max_length : int, default=50
        The last ``max_length`` items of a history are read.
    loss : {"sampled_softmax", "ce", "gbce", "bce", "bpr"}, default="sampled_softmax"
        See :class:`seqregen.training.NextItemLoss`.
    n_negatives : int, optional
        Default 4,096 under "sampled_softmax", 256 under "gbce", 1 under "bce" (published) and "bpr"; not used by "ce"
        and "in_batch".
    negative_sampling : {"auto", "uniform", "popularity", "in_batch"}, default="auto"
        Where negatives come from: all items alike, items as often as they stand in the rows trained on, or the
        targets of the batch. "auto" is "popularity" under "sampled_softmax", which measured best, and else "uniform",
        as published. Where neither this nor ``n_negatives`` is chosen, a vocabulary of 4,096 items or fewer is summed
        in full: "sampled_softmax" is "ce" then.
    learning_rate : float, default=1e-3
        Of Adam.
    weight_decay : float, default=0
    average_decay : float, default=0
        The weights that are validated and kept are an exponential average over steps, of which this share is kept
        in a step: 0.99 to 0.998 for a few hundred steps. 0 keeps the weights as they are (published).
    batch_size : int, default=256
        Rows in a training batch.
    max_epochs : int, default=1000
    patience : int, default=20
        Epochs below the best validation NDCG@20 after which training stops; the last of the best epochs is kept.
        Through so many epochs of one and the same NDCG@20 it stops, too. Without validation items it stops after five
        epochs, or ``patience`` where that is less, in which the loss of training fell by less than 1 %, and the epoch
        with the lowest is kept.
    refit : bool, default=False
        Train once more from the start, for the best number of epochs, on rows that end with their validation items.
    precision : {"float32", "bfloat16"}, default="float32"
        "bfloat16" rounds what matrix products multiply and give in training, which is quicker where the processor
        computes in it; weights, optimizer, validation and ranking stay in float32.
    device : str, default="auto"
        "auto" takes CUDA where there is one, else the CPU.
    random_state : int, RandomState or None, default=None
        An integer makes fits repeat; torch's own generators, which dropout inside the module draws from, are seeded
        from it and left as they were.
    checkpoint_dir : path-like, optional
        Where to keep checkpoints; a fit that was interrupted goes on from there to the same result.
    verbose : bool, default=False
        Show a progress bar.
    **module_params
        ``module__hidden=32`` gives the module class ``hidden=32``; seen and set by ``get_params``, ``set_params``,
        ``clone`` and searches.

    Attributes
    ----------
    network_ : PaddedNetwork
        ``network_.module`` is the trained module.
    vocabulary_, history_, best_epoch_, refit_history_, item_counts_, max_length_
        See :class:`SequentialRecommender`.

    Raises
    ------
    ValueError, TypeError
        In fit: the module takes no ``n_items`` or not one of the module parameters, its states have a wrong shape or
        see later items, or no table of item vectors is found.

    Notes
    -----
    As in skorch, parameters of the module stand beside those of its training. torch's own generators are one for a
    process: fits in threads take turns where modules draw from them, for first weights or in training, so that
    they repeat; processes side by side need not wait.

    Examples
    --------
    >>> from torch import nn
    >>> from seqregen.datasets import make_sequences
    >>> from seqregen.targets import TorchTarget
    >>> class Recurrent(nn.Module):
    ...     def __init__(self, n_items, width=16):
    ...         super().__init__()
    ...         self.items = nn.Embedding(n_items + 1, width, padding_idx=0)
    ...         self.recurrent = nn.GRU(width, width, batch_first=True)
    ...     def forward(self, items):
    ...         return self.recurrent(self.items(items))[0]
    >>> model = TorchTarget(Recurrent, module__width=8, max_epochs=2, random_state=0)
    >>> model.fit(make_sequences(n_sequences=50, n_items=20, random_state=0)).item_embeddings_.shape
    (20, 8)
    """

    def __init__(
        self,
        module: Any,
        item_table: str | None = None,
        padding: str = "right",
        output: str = "positions",
        max_length: int = 50,
        loss: str = "sampled_softmax",
        n_negatives: int | None = None,
        negative_sampling: str = "auto",
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        average_decay: float = 0.0,
        batch_size: int = 256,
        max_epochs: int = 1000,
        patience: int = 20,
        refit: bool = False,
        precision: str = "float32",
        device: str = "auto",
        random_state: Any = None,
        checkpoint_dir: Any = None,
        verbose: bool = False,
        **module_params: Any,
    ) -> None:
        self.module = module
        self.item_table = item_table
        self.padding = padding
        self.output = output
        super().__init__(
            max_length=max_length,
            loss=loss,
            n_negatives=n_negatives,
            negative_sampling=negative_sampling,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            average_decay=average_decay,
            batch_size=batch_size,
            max_epochs=max_epochs,
            patience=patience,
            refit=refit,
            precision=precision,
            device=device,
            random_state=random_state,
            checkpoint_dir=checkpoint_dir,
            verbose=verbose,
        )
        for name, value in module_params.items():
            if not name.startswith(_PREFIX):
                raise TypeError(
                    f"TorchTarget has no parameter {name!r}; a parameter of the module is given as {_PREFIX}{name}."
                )
            setattr(self, name, value)

    # Parameters of the module stand beside the others

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name, those of the module with the prefix ``module__``.

        Parameters
        ----------
        deep : bool, default=True
            Also parameters of estimators among the parameters.

        Returns
        -------
        dict
        """
        return super().get_params(deep) | {
            name: value for name, value in vars(self).items() if name.startswith(_PREFIX)
        }

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, those of the module with the prefix ``module__``.

        Parameters
        ----------
        **params

        Returns
        -------
        self
        """
        super().set_params(**{name: value for name, value in params.items() if not name.startswith(_PREFIX)})
        for name, value in params.items():
            if name.startswith(_PREFIX):
                setattr(self, name, value)
        return self

    def _module_params(self) -> dict[str, Any]:
        return {name.removeprefix(_PREFIX): value for name, value in vars(self).items() if name.startswith(_PREFIX)}

    # What the base asks for

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice(self, "padding", ("right", "left"))
        check_choice(self, "output", ("positions", "last"))
        if not (self.item_table is None or isinstance(self.item_table, str)):
            raise ValueError(
                f"TorchTarget: item_table must be None, or the path of an embedding or the name of a method as a "
                f"string; got {self.item_table!r}."
            )
        if isinstance(self.module, nn.Module):
            if self._module_params():
                raise ValueError(
                    f"TorchTarget: {', '.join(_PREFIX + name for name in self._module_params())} cannot be given to a "
                    f"{type(self.module).__name__} that is made already; pass the class instead."
                )
        elif not callable(self.module):
            raise TypeError(
                "TorchTarget: module must be a class derived from torch.nn.Module, a function that returns a module, "
                f"or a module; got {self.module!r}."
            )

    def _make_network(self, data: SequenceDataset) -> PaddedNetwork:
        return PaddedNetwork(
            self._builder(data.n_items), data.n_items, self.max_length, self.item_table, self.padding, self.output
        )

    def _training_rows(self, training: SequenceDataset) -> TrainingRows:
        if self.output == "last":
            return prefix_rows(training, self.max_length)
        return super()._training_rows(training)

    def _draw_weights(self, network: NextItemNetwork, generator: torch.Generator) -> None:
        assert isinstance(network, PaddedNetwork)
        network.draw(generator)
        if self.checkpoint_dir is not None:
            # Parameters alone do not tell two modules apart: what makes them may read anything.
            network.first_module = fingerprint(network.module)

    def _builder(self, n_items: int) -> Callable[[], nn.Module]:
        if isinstance(self.module, nn.Module):
            return partial(copy.deepcopy, self.module)
        given = {"n_items": n_items}
        if "max_length" in _named_parameters(self.module):
            given["max_length"] = self.max_length
        params = self._module_params()
        if "n_items" in params:
            raise ValueError(
                f"TorchTarget: {_PREFIX}n_items is not yours to give: fit passes the size of the vocabulary."
            )
        _check_accepted(self.module, given | params)
        return partial(_build, self.module, given | params)

    def _run_settings(self, network: NextItemNetwork) -> dict[str, Any]:
        assert isinstance(network, PaddedNetwork)
        return super()._run_settings(network) | {"first_module": network.first_module}


def _build(make: Callable[..., Any], params: dict[str, Any]) -> nn.Module:
    try:
        module = make(**params)
    except TypeError as error:
        given = ", ".join(f"{name}={value!r}" for name, value in params.items())
        raise TypeError(
            f"{_shown(make)} cannot be made with {given}: {error}. Pass a function that takes n_items and makes the "
            "module: module=lambda n_items: ..."
        ) from error
    if not isinstance(module, nn.Module):
        raise TypeError(f"{_shown(make)} must return a torch.nn.Module; it returned a {type(module).__name__}.")
    return module


def _named_parameters(make: Any) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(make).parameters)
    except (TypeError, ValueError):
        # Built in C, or otherwise without a signature: whatever it is given, it judges by itself.
        return {"anything": inspect.Parameter("anything", inspect.Parameter.VAR_KEYWORD)}


def _check_accepted(make: Any, given: dict[str, Any]) -> None:
    parameters = _named_parameters(make)
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    if "n_items" not in parameters and not takes_all:
        raise ValueError(
            f"{_shown(make)} has no parameter n_items: that is how it learns the number V of items (codes are 1..V, "
            "0 is padding). Add it, or pass a function: module=lambda n_items: YourModule(..., n_items + 1)."
        )
    unknown = [name for name in given if name not in parameters and not takes_all]
    if unknown:
        raise ValueError(
            f"{', '.join(_PREFIX + name for name in unknown)}: {_shown(make)} has no such parameter; it has "
            f"{', '.join(parameters)}."
        )
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    missing = [
        name
        for name, parameter in parameters.items()
        if parameter.kind in by_name and parameter.default is parameter.empty and name not in given
    ]
    if missing:
        raise ValueError(f"{_shown(make)} needs {', '.join(missing)}: give {_PREFIX}{missing[0]}=... as well.")


def _shown(module: Any) -> str:
    made = module.func if isinstance(module, partial) else module
    return getattr(made, "__qualname__", type(made).__name__)
