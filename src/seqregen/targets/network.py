"""What every target model's network offers: states after positions, and vectors of items."""

from __future__ import annotations

import copy
from abc import ABCMeta, abstractmethod
from typing import Self

from torch import Tensor, nn

from ..training import NextItemBatch

__all__ = ["NextItemNetwork"]


class NextItemNetwork(nn.Module, metaclass=ABCMeta):
    """A network that turns items into hidden states; the score of an item is an inner product with a state."""

    @abstractmethod
    def states(self, batch: NextItemBatch) -> Tensor:
        """Compute the hidden state after each position of a batch.

        Parameters
        ----------
        batch : NextItemBatch

        Returns
        -------
        Tensor of shape (n_positions, d)
        """

    @abstractmethod
    def item_table(self) -> Tensor:
        """Give the vectors that states are scored against.

        Returns
        -------
        Tensor of shape (n_items, d)
            Row ``c - 1`` is that of item code ``c``.
        """

    def target_states(self, batch: NextItemBatch) -> Tensor:
        """Compute the hidden states that ``batch.targets`` are scored against: every position's.

        Parameters
        ----------
        batch : NextItemBatch

        Returns
        -------
        Tensor of shape (n_targets, d)
        """
        return self.states(batch)

    def last_states(self, batch: NextItemBatch) -> Tensor:
        """Compute the hidden state after the last position of each row.

        Parameters
        ----------
        batch : NextItemBatch

        Returns
        -------
        Tensor of shape (n_rows, d)
        """
        return self.states(batch)[batch.last]

    # For a graph that leaves Python

    def frozen(self) -> Self:
        """Make a copy on the CPU, in evaluation, where what the weights alone decide may be computed once and for all.

        Returns
        -------
        NextItemNetwork
        """
        return copy.deepcopy(self).cpu().eval()

    def padded_states(self, items: Tensor) -> Tensor:
        """The states of :meth:`states` for padded rows, in operations that ``torch.export`` can follow.

        Parameters
        ----------
        items : int64 Tensor of shape (n_rows, length)
            Codes, with 0 behind the items of each row; at most as long as the network reads.

        Returns
        -------
        Tensor of shape (n_rows, length, d)
            What stands at padding means nothing.
        """
        raise NotImplementedError(
            f"{type(self).__name__} works on ragged rows alone; to export it write padded_states or padded_last_states."
        )

    def padded_last_states(self, items: Tensor, lengths: Tensor) -> Tensor:
        """The states of :meth:`last_states` for padded rows, in operations that ``torch.export`` can follow.

        Parameters
        ----------
        items : int64 Tensor of shape (n_rows, length)
            Codes, with 0 behind the items of each row; at most as long as the network reads.
        lengths : int64 Tensor of shape (n_rows,)
            Items of each row; the state of an empty row means nothing.

        Returns
        -------
        Tensor of shape (n_rows, d)
        """
        states = self.padded_states(items)
        last = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, states.shape[2])
        return states.gather(1, last)[:, 0]
