"""A prefix tree of patterns held in sorted arrays."""

from __future__ import annotations

import numpy as np

from ..ragged import offsets_from_lengths
from .packing import bits_for

__all__ = ["PatternTrie"]

# An odd multiplier whose high product bits are well mixed: 2**64 divided by the golden ratio.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# Slots of a table of hashed keys: with four to eight a key few keys fall into one slot.
_SLOTS_A_KEY = 4


class PatternTrie:
    """Prefix tree of patterns, for stepping from many nodes at once.

    Nodes ``0..n_codes - 1`` stand for the single items, the node number being the item code; the nodes behind
    stand for the longer prefixes, depth by depth, within a depth sorted by parent and item. So the children
    of a node are neighbours, and the keys ``(parent, item)`` of all nodes are one sorted array.

    Parameters
    ----------
    items : int64 ndarray of shape (n_pattern_items,)
        Item codes of all patterns, one behind the other.
    offsets : int64 ndarray of shape (n_patterns + 1,)
        Bounds of the patterns; each has two items or more, no two are equal.
    n_codes : int
        One more than the largest item code of anything that is looked up.

    Attributes
    ----------
    pattern : int64 ndarray of shape (n_nodes,)
        The pattern that ends at each node, -1 for none.
    child_offsets : int64 ndarray of shape (n_nodes + 1,)
        The children of node ``n`` are ``n_codes + child_offsets[n] .. n_codes + child_offsets[n + 1]``.
    child_items : int64 ndarray of shape (n_nodes - n_codes,)
        The last item of every node behind the single items.
    """

    def __init__(self, items: np.ndarray, offsets: np.ndarray, n_codes: int) -> None:
        self.n_codes = n_codes
        self._item_bits = bits_for(n_codes - 1)
        keys, ends = self._number_prefixes(items, offsets)
        self._keys = keys
        self.n_nodes = n_codes + len(keys)
        self.child_items = keys & ((1 << self._item_bits) - 1)
        self.child_offsets = offsets_from_lengths(np.bincount(keys >> self._item_bits, minlength=self.n_nodes))
        self.pattern = np.full(self.n_nodes, -1, dtype=np.int64)
        self.pattern[ends] = np.arange(len(ends))
        self._fill_slots()

    def _number_prefixes(self, items: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The key of every node, and the node that each pattern ends at."""
        lengths, starts = np.diff(offsets), offsets[:-1]
        node = items[starts] if len(starts) else starts
        next_node = self.n_codes
        keys = [np.zeros(0, dtype=np.int64)]
        for depth in range(1, int(lengths.max(initial=0))):
            reaching = np.flatnonzero(lengths > depth)
            key = (node[reaching] << self._item_bits) | items[starts[reaching] + depth]
            distinct, place = np.unique(key, return_inverse=True)
            node[reaching] = next_node + place
            next_node += len(distinct)
            keys.append(distinct)
        return np.concatenate(keys), node

    def _fill_slots(self) -> None:
        """Hash the keys: a slot has the place of its key; of several keys those that it has not are kept sorted."""
        slot_bits = max(bits_for(_SLOTS_A_KEY * len(self._keys)), 10)
        self._shift = np.uint64(64 - slot_bits)
        self._places = np.full(1 << slot_bits, -1, dtype=np.int32)
        self._is_shared = np.zeros(1 << slot_bits, dtype=bool)
        slots, places = self._slot(self._keys), np.arange(len(self._keys), dtype=np.int32)
        self._places[slots] = places
        self._crowded_out = np.flatnonzero(self._places[slots] != places)
        self._is_shared[slots[self._crowded_out]] = True
        self._crowded_out_keys = self._keys[self._crowded_out]

    def _slot(self, keys: np.ndarray) -> np.ndarray:
        return ((keys.view(np.uint64) * _GOLDEN) >> self._shift).view(np.int64)

    def n_children(self, nodes: np.ndarray) -> np.ndarray:
        """Number of children of each node."""
        return self.child_offsets[nodes + 1] - self.child_offsets[nodes]

    def step(self, nodes: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Follow one item from each node.

        Parameters
        ----------
        nodes, items : int64 ndarrays of shape (n,)
            A node and an item code each.

        Returns
        -------
        found : int64 ndarray of shape (n_found,)
            Which of the n steps lead somewhere, ascending.
        children : int64 ndarray of shape (n_found,)
            The nodes they lead to.
        """
        keys = nodes << self._item_bits
        keys |= items
        slots = self._slot(keys)
        places = self._places[slots]
        found = np.flatnonzero(places >= 0)
        keys, places, slots = keys[found], places[found].astype(np.int64), slots[found]
        exact = self._keys[places] == keys
        if len(self._crowded_out):
            again = np.flatnonzero(~exact & self._is_shared[slots])
            other = np.searchsorted(self._crowded_out_keys, keys[again])
            other[other == len(self._crowded_out)] = 0
            places[again] = self._crowded_out[other]
            exact[again] = self._crowded_out_keys[other] == keys[again]
        return found[exact], self.n_codes + places[exact]
