"""A network around a module that knows padded rows of item codes alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..nn import TorchRandomness, narrow_type, on_device, seeded_torch
from ..nn.padded import shift_to_the_end
from ..ragged import take_positions
from ..training import NextItemBatch
from .item_tables import ItemTable, find_item_table, watch_lookups
from .network import NextItemNetwork

__all__ = ["PaddedNetwork"]

# Rows are padded among rows of their class: up to 8 items, up to 16, up to 32, and so on.
_SHORTEST_CLASS = 8
# Codes of the rows that a new module is tried on.
_TRIAL_LENGTH = 3
# Attention over a row costs its square: a max_length that stands for "never cut" is not tried to its end.
_LONGEST_TRIAL = 2048


class PaddedNetwork(NextItemNetwork):
    """Pads batches, calls a module, and reads its states at the real positions.

    Rows of a batch are padded in classes of near lengths, so that less than half of what the module computes is
    padding even where one row of a batch is long.

    Parameters
    ----------
    build : callable
        Makes the module; called once, when weights are drawn.
    n_items : int
    max_length : int
    item_table : str or None
        See :func:`find_item_table`.
    padding : {"right", "left"}
    output : {"positions", "last"}
        Whether the module gives a state for each position or one for the row. With the latter, a batch that is
        trained on holds prefixes, and has one target a row.

    Attributes
    ----------
    module : nn.Module
        What was built.
    first_module : str or None
        Fingerprint of the module as it was before training, where checkpoints are kept.
    """

    def __init__(
        self,
        build: Callable[[], nn.Module],
        n_items: int,
        max_length: int,
        item_table: str | None,
        padding: str,
        output: str,
    ) -> None:
        super().__init__()
        self._build: Callable[[], nn.Module] | None = build
        self._item_table: str | ItemTable | None = item_table
        self.n_items = n_items
        self.max_length = max_length
        self.padding = padding
        self.output = output
        self.randomness = TorchRandomness()
        self.first_module: str | None = None

    def draw(self, generator: torch.Generator) -> None:
        """Make the module; what its constructor draws comes from the generator's seed."""
        assert self._build is not None
        assert not isinstance(self._item_table, ItemTable)
        with seeded_torch(generator.initial_seed(), torch.device("cpu")):
            self.module = self._build().cpu()
        self._build = None
        searched = self._item_table is None
        self._item_table = find_item_table(self.module, self.n_items, self._item_table)
        if not any(parameter.requires_grad for parameter in self.module.parameters()):
            raise ValueError(f"{self._name} has no parameter with requires_grad=True: there is nothing to train.")
        self._try_out(searched)

    def item_table(self) -> Tensor:
        assert isinstance(self._item_table, ItemTable)
        with self.randomness.seeded():
            return self._item_table.read(self.module)

    def states(self, batch: NextItemBatch) -> Tensor:
        ends = np.cumsum(batch.lengths)
        if self.output == "positions":
            return self._states_of(batch.items, ends - batch.lengths, batch.lengths)
        # The state of a position is that of the prefix which ends there.
        starts = np.repeat(ends - batch.lengths, batch.lengths)
        lengths = np.arange(len(starts)) - starts + 1
        order = np.argsort(lengths, kind="stable")
        states = self._states_of(batch.items, starts[order], lengths[order])
        return states[on_device(np.argsort(order, kind="stable"), states.device)]

    def target_states(self, batch: NextItemBatch) -> Tensor:
        return self.states(batch) if self.output == "positions" else self.last_states(batch)

    def last_states(self, batch: NextItemBatch) -> Tensor:
        if self.output == "positions":
            return super().last_states(batch)
        return self._states_of(batch.items, np.cumsum(batch.lengths) - batch.lengths, batch.lengths)

    def padded_states(self, items: Tensor) -> Tensor:
        if self.padding == "right":
            return self._call(items)
        lengths = (items > 0).sum(1)
        states = self._call(shift_to_the_end(items, lengths))
        places = torch.arange(items.shape[1], device=items.device) + (items.shape[1] - lengths)[:, None]
        places = places.clamp(max=items.shape[1] - 1)[:, :, None].expand_as(states)
        return states.gather(1, places)

    def padded_last_states(self, items: Tensor, lengths: Tensor) -> Tensor:
        if self.output == "positions":
            return super().padded_last_states(items, lengths)
        return self._call(items if self.padding == "right" else shift_to_the_end(items, lengths))

    def _states_of(self, items: Tensor, starts: np.ndarray, lengths: np.ndarray) -> Tensor:
        """States of the pieces of flat items that begin at ``starts``; their lengths must ascend."""
        states = []
        with self.randomness.seeded():
            for first, last in pairwise(_length_classes(lengths)):
                codes, real = self._padded(items, starts[first:last], lengths[first:last])
                found = self._call(codes)
                states.append(found.flatten(0, 1).index_select(0, real) if self.output == "positions" else found)
        return torch.cat(states)

    def _padded(self, items: Tensor, starts: np.ndarray, lengths: np.ndarray) -> tuple[Tensor, Tensor]:
        """Codes, (n_rows, length), of pieces of flat items, and where their items stand in them, row by row."""
        n_rows, longest = len(lengths), int(lengths[-1])
        row_starts = np.arange(n_rows) * longest + (longest - lengths if self.padding == "left" else 0)
        places, real = (on_device(take_positions(begin, lengths)[0], items.device) for begin in (starts, row_starts))
        codes = torch.zeros(n_rows * longest, dtype=torch.int64, device=items.device)
        codes[real] = items[places]
        return codes.view(n_rows, longest), real

    def _call(self, codes: Tensor) -> Tensor:
        """The module's states, checked for their shape."""
        try:
            states = self.module(codes)
        except RuntimeError as error:
            if narrow_type(codes.device) is None:
                raise
            raise ValueError(
                f"{self._name} failed in bfloat16, which not every module can compute in: {type(error).__name__}: "
                f"{error}. Try precision='float32'."
            ) from error
        needed = "(n_rows, length, d)" if self.output == "positions" else "(n_rows, d)"
        if not isinstance(states, Tensor):
            raise TypeError(
                f"{self._name} returned a {type(states).__name__}; needed: one tensor of hidden states, {needed}. "
                "Recurrent layers of torch return a tuple: take its first part."
            )
        rows = codes.shape if self.output == "positions" else codes.shape[:1]
        if states.ndim != len(rows) + 1 or states.shape[:-1] != rows:
            raise ValueError(
                f"{self._name} turned item codes of the shape {tuple(codes.shape)} into {tuple(states.shape)}; "
                f"needed: {needed}, here ({', '.join(map(str, rows))}, d).{_advice(states, codes, self.output)}"
            )
        return states

    @property
    def _name(self) -> str:
        return type(self.module).__name__

    def _try_longest(self) -> None:
        """Call a new module on one row of ``max_length`` items: a table of positions may be too short."""
        length = min(self.max_length, _LONGEST_TRIAL)
        try:
            self._call(torch.ones(1, length, dtype=torch.int64))
        except (IndexError, RuntimeError) as error:
            raise ValueError(
                f"{self._name} cannot read a row of {length} items, with max_length={self.max_length}: "
                f"{type(error).__name__}: {error}. Give its positions that many places, or lower max_length."
            ) from error

    def _try_codes(self, codes: Tensor) -> Tensor:
        """States of a new module after rows that hold the largest item code, which its table may lack."""
        try:
            return self._call(codes)
        except IndexError as error:
            self._call(torch.ones_like(codes))
            assert isinstance(self._item_table, ItemTable)
            needed = self.n_items + 1
            found = "" if self._item_table.first else f"; its table {self._item_table.path!r} has {self.n_items} rows"
            raise ValueError(
                f"{self._name} cannot read the item code {self.n_items} (IndexError: {error}). Codes are 1 to n_items="
                f"{self.n_items}, and 0 is the padding's, so a table that is looked up by them needs {needed} rows"
                f"{found}. Make it with n_items + 1 rows; or look codes - 1 up, if it has none for the padding."
            ) from error

    @torch.no_grad()
    def _try_out(self, searched: bool) -> None:
        """Call a new module on three small rows, so that what can never work is said before training.

        Parameters
        ----------
        searched : bool
            Whether the item table was found by its size rather than named.
        """
        length = min(_TRIAL_LENGTH, self.max_length)
        codes = torch.ones(3, length, dtype=torch.int64)
        codes[1, -1] = self.n_items
        self.module.eval()
        assert isinstance(self._item_table, ItemTable)
        with watch_lookups(self.module, self._item_table) as looked_up:
            table, states = self.item_table(), self._try_codes(codes)
        if searched:
            self._item_table.check_lookups(self.module, looked_up)
        self._try_longest()
        if table.dtype != states.dtype or table.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"{self._name} has states of {states.dtype} and item vectors of {table.dtype}; needed: both float32, "
                "or both float64."
            )
        if states.shape[-1] != table.shape[1]:
            raise ValueError(
                f"{self._name} has states with {states.shape[-1]} values and item vectors with {table.shape[1]}: a "
                "score is their inner product. Give both one size, or project the states."
            )
        if not (torch.isfinite(states).all() and torch.isfinite(table).all()):
            raise ValueError(f"{self._name} has states or item vectors that are not finite before any training.")
        if self.output == "last":
            return
        first, changed, again = states[:, : length - 1]
        # A module that does not even repeat itself is left to check_target.
        if torch.equal(first, again) and not torch.allclose(first, changed, rtol=1e-3, atol=1e-5):
            raise ValueError(
                f"{self._name} is not causal: states before the last position changed with the last item, so in "
                "training a state would see the item that it is to predict. Use a causal mask; or return the last "
                "state alone, (n_rows, d), with output='last'."
            )


def _advice(states: Tensor, codes: Tensor, output: str) -> str:
    n_rows, length = codes.shape
    if output == "last":
        return " For states of all positions use output='positions'." if states.shape[:2] == codes.shape else ""
    if states.ndim == 3 and states.shape[:2] == (length, n_rows):
        return " The first two axes are exchanged: use batch_first=True."
    if states.ndim == 2 and len(states) == n_rows:
        return " If that is the state after the whole row, use output='last'."
    return ""


def _length_classes(lengths: np.ndarray) -> list[int]:
    """First rows of the classes of ascending lengths, and the number of rows behind them."""
    limits = [_SHORTEST_CLASS]
    while limits[-1] < lengths[-1]:
        limits.append(2 * limits[-1])
    bounds: Any = np.searchsorted(lengths, limits, side="right")
    return np.unique([0, *bounds]).tolist()
