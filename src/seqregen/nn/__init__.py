"""Building blocks of the networks: ragged attention and recurrence, Transformer layers, cheap dropout. Torch only."""

from .attention import RaggedGroups, Slots, attend, group_rows
from .dropout import Dropout, RandomMasks, use_masks
from .embedding import accumulating_gradients, look_up
from .recurrent import GRU, TimeSteps, time_steps
from .transformer import DecoderLayer, EncoderLayer, initialize

__all__ = [
    "GRU",
    "DecoderLayer",
    "Dropout",
    "EncoderLayer",
    "RaggedGroups",
    "Slots",
    "RandomMasks",
    "TimeSteps",
    "accumulating_gradients",
    "attend",
    "group_rows",
    "initialize",
    "look_up",
    "time_steps",
    "use_masks",
]
