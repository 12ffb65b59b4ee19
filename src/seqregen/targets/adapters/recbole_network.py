"""A model of RecBole as a network of a target model."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...nn import narrow_type, on_device
from ...training import NextItemBatch
from ..network import NextItemNetwork
from .foreign_randomness import seeded_everywhere
from .padded_histories import PaddedHistories
from .recbole_library import RecBoleData, RecBoleSettings, refused

__all__ = ["RecBoleNetwork"]

# Some models lay out rows x items x size when they score.
_ROWS_SCORED_AT_ONCE = 256
_N_TRIALS = 4


class RecBoleNetwork(NextItemNetwork):
    """Calls a model of RecBole with batches as RecBole makes them.

    States and the item table are there only for models that score by the inner product of ``forward(item_seq,
    item_seq_len)`` and ``item_embedding``; all others train by their own loss and rank by their own scores.

    Parameters
    ----------
    model_class : type
    settings : RecBoleSettings
    n_items : int
        Without the padding.
    users : ndarray of shape (n_users,)
        Those that the model may hold vectors of.
    """

    # RecBole's own model, there once its weights are drawn.
    model: Any

    def __init__(self, model_class: type, settings: RecBoleSettings, n_items: int, users: np.ndarray) -> None:
        super().__init__()
        from recbole.data.transform import construct_transform

        self.model_class = model_class
        self.settings = settings
        self.n_items, self.users = n_items, users
        user, item = settings["USER_ID_FIELD"], settings["ITEM_ID_FIELD"]
        self.data = RecBoleData(
            user_num=len(users) + 1,
            item_num=n_items + 1,
            field2seqlen={item + settings["LIST_SUFFIX"]: settings["MAX_ITEM_LIST_LENGTH"]},
            sizes={user: len(users) + 1, item: n_items + 1},
        )
        # Made before the model: it writes names into the settings that the model reads.
        self.transform = construct_transform(settings)

    def draw(self, seed: int) -> None:
        """Make the model; what its constructor draws comes from the seed."""
        with seeded_everywhere(seed, torch.device("cpu")):
            try:
                self.model = self.model_class(self.settings, self.data)
            except Exception as error:
                raise refused(self.model_class, error) from error
        self.scores_by_inner_product = self._try_inner_product()

    # Losses

    def library_loss(self, batch: PaddedHistories, n_negatives: int, random: np.random.Generator) -> Tensor:
        """The model's own loss of a batch."""
        from recbole.utils import InputType

        assert batch.targets is not None
        interaction = self.transform(self.data, self._interaction(batch))
        if self.settings["MODEL_INPUT_TYPE"] == InputType.PAIRWISE:
            negatives = self._negatives(batch.targets, n_negatives, random)
            interaction = interaction.repeat(n_negatives)
            interaction.interaction[self.settings["NEG_PREFIX"] + self.settings["ITEM_ID_FIELD"]] = negatives
        try:
            loss = self.model.calculate_loss(interaction)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise self._failed(error) from error
        # Some losses are tuples of terms, some have one dimension too many.
        return torch.stack([part.sum() for part in loss]).sum() if isinstance(loss, tuple) else loss.sum()

    def _failed(self, error: Exception) -> ValueError:
        """RecBole's complaint in the loss, with what the user can look at."""
        candidates, advice = self.settings["reranker_CAN_NUM"], ""
        if candidates is not None:
            advice = f" No number in reranker_CAN_NUM={candidates!r} may be above {self.n_items}."
        if narrow_type(next(self.parameters()).device) is not None:
            advice += " Not all of its models compute in bfloat16: try precision='float32'."
        return ValueError(
            f"RecBole's {self.model_class.__name__} cannot compute its loss for a vocabulary of {self.n_items} items, "
            f"read in rows of max_length={self.settings['MAX_ITEM_LIST_LENGTH']}: {type(error).__name__}: {error}. "
            f"Its settings, given as config, may be too large for the data.{advice}"
        )

    def _negatives(self, targets: Tensor, n_negatives: int, random: np.random.Generator) -> Tensor:
        """Uniform among the items other than the target, as RecBole draws them: n_negatives x rows, flat."""
        if self.n_items < 2:
            raise ValueError(
                f"RecBole's {self.model_class.__name__} compares targets with other items, and the vocabulary has one "
                "item alone."
            )
        drawn = on_device(random.integers(1, self.n_items, n_negatives * len(targets)), targets.device)
        return drawn + (drawn >= targets.repeat(n_negatives))

    def _interaction(self, batch: PaddedHistories) -> Any:
        from recbole.data.interaction import Interaction

        names = self.settings
        columns = {
            names["USER_ID_FIELD"]: batch.users,
            names["ITEM_ID_FIELD"] + names["LIST_SUFFIX"]: batch.items,
            names["ITEM_LIST_LENGTH_FIELD"]: batch.lengths,
            # Some models read a target, to no effect, also when they score.
            names["ITEM_ID_FIELD"]: batch.items[:, 0] if batch.targets is None else batch.targets,
        }
        return Interaction(columns)

    # Scores

    @torch.no_grad()
    def scores(self, batch: PaddedHistories) -> Tensor:
        """The model's own scores of all items, (n_rows, n_items)."""
        return torch.cat([self._score(part) for part in _parts(batch)])

    def _score(self, batch: PaddedHistories) -> Tensor:
        interaction = self._interaction(batch)
        # What the other transforms make is for training alone.
        if self.settings["transform"] == "inverse_itemseq":
            interaction = self.transform(self.data, interaction)
        scores = self.model.full_sort_predict(interaction).view(len(batch.items), -1)
        return scores[:, 1 : self.n_items + 1]

    def item_table(self) -> Tensor:
        self.require_inner_product("item_embeddings_")
        return self.model.item_embedding.weight[1 : self.n_items + 1]

    def target_states(self, batch: Any) -> Tensor:
        if not isinstance(batch, PaddedHistories):
            return super().target_states(batch)
        return self.model.forward(batch.items, batch.lengths)

    def last_states(self, batch: NextItemBatch) -> Tensor:
        self.require_inner_product("encode")
        first = batch.last + 1 - on_device(batch.lengths, batch.last.device)
        return self._states_before(batch, first, batch.last)

    def padded_last_states(self, items: Tensor, lengths: Tensor) -> Tensor:
        self.require_inner_product("to_onnx")
        # An empty row has no last state; what stands here for it is not read.
        return self.model.forward(items, lengths.clamp(min=1))

    def states(self, batch: NextItemBatch) -> Tensor:
        self.require_inner_product("states")
        places = torch.arange(len(batch.items), device=batch.items.device)
        return self._states_before(batch, places - batch.positions, places)

    def _states_before(self, batch: NextItemBatch, first: Tensor, last: Tensor) -> Tensor:
        """States of the histories from each place to each other among a batch's positions."""
        longest = self.settings["MAX_ITEM_LIST_LENGTH"]
        lengths = (last - first + 1).clamp(max=longest)
        columns = torch.arange(longest, device=last.device)
        places = (last - lengths + 1)[:, None] + columns
        items = batch.items[places.clamp(max=len(batch.items) - 1)].masked_fill(columns >= lengths[:, None], 0)
        return self.model.forward(items, lengths)

    def require_inner_product(self, what: str) -> None:
        """Refuse what needs states and item vectors where the model has none."""
        if not self.scores_by_inner_product:
            name = self.model_class.__name__
            raise NotImplementedError(
                f"{what} needs scores that are inner products of forward(item_seq, item_seq_len) and item_embedding; "
                f"RecBole's {name} scores otherwise. It trains with loss='library' and ranks by its own scores."
            )

    @torch.no_grad()
    def _try_inner_product(self) -> bool:
        """Whether the model's own scores are the inner products, tried on a few rows."""
        if list(inspect.signature(self.model.forward).parameters) != ["item_seq", "item_seq_len"]:
            return False
        if not isinstance(getattr(self.model, "item_embedding", None), nn.Embedding):
            return False
        longest = self.settings["MAX_ITEM_LIST_LENGTH"]
        lengths = torch.arange(_N_TRIALS) % longest + 1
        items = (torch.arange(_N_TRIALS * longest).view(_N_TRIALS, longest) % self.n_items + 1).masked_fill(
            torch.arange(longest) >= lengths[:, None], 0
        )
        self.model.eval()
        batch = PaddedHistories(items, lengths, torch.zeros_like(lengths))
        states = self.model.forward(batch.items, batch.lengths)
        if not isinstance(states, Tensor) or states.ndim != 2:
            return False
        expected = states @ self.model.item_embedding.weight[1 : self.n_items + 1].T
        return torch.allclose(self._score(batch), expected, rtol=1e-4, atol=1e-6)

    def _apply(self, *arguments: Any, **options: Any) -> RecBoleNetwork:
        """Moves the network; RecBole's models also remember a device of their own."""
        super()._apply(*arguments, **options)
        parameter = next(self.parameters(), None)
        if parameter is not None:
            self.settings["device"] = parameter.device
            for module in self.modules():
                if isinstance(vars(module).get("device"), torch.device):
                    vars(module)["device"] = parameter.device
        return self


def _parts(batch: PaddedHistories) -> list[PaddedHistories]:
    columns = [column.split(_ROWS_SCORED_AT_ONCE) for column in (batch.items, batch.lengths, batch.users)]
    return [PaddedHistories(*part) for part in zip(*columns, strict=True)]
