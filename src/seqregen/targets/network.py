"""What every target model's network offers: states after positions, and vectors of items."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod

from torch import Tensor, nn

from ..training import NextItemBatch

__all__ = ["NextItemNetwork"]


class NextItemNetwork(nn.Module, metaclass=ABCMeta):
    """A network that turns items into hidden states; the score of an item is an inner product with a state."""

    @abstractmethod
    def states(self, batch: NextItemBatch) -> Tensor:
        """Hidden state, (n_positions, d), after each position of a batch."""

    @abstractmethod
    def item_table(self) -> Tensor:
        """Vectors, (n_items, d), that states are scored against; row ``c - 1`` is item code ``c``."""

    def target_states(self, batch: NextItemBatch) -> Tensor:
        """Hidden state, (n_targets, d), that each of ``batch.targets`` is scored against: every position's."""
        return self.states(batch)

    def last_states(self, batch: NextItemBatch) -> Tensor:
        """Hidden state, (n_rows, d), after the last position of each row."""
        return self.states(batch)[batch.last]
