"""Building blocks of the networks: ragged attention, Transformer layers, cheap dropout. Torch only."""

from .attention import RaggedGroups, attend, group_rows
from .dropout import Dropout, RandomMasks, use_masks
from .embedding import accumulating_gradients, look_up
from .transformer import DecoderLayer, EncoderLayer, initialize

__all__ = [
    "DecoderLayer",
    "Dropout",
    "EncoderLayer",
    "RaggedGroups",
    "RandomMasks",
    "accumulating_gradients",
    "attend",
    "group_rows",
    "initialize",
    "look_up",
    "use_masks",
]
