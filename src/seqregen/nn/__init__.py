"""Building blocks of the networks: ragged attention and recurrence, Transformer layers, cheap dropout. Torch only."""

from .attention import RaggedGroups, Slots, attend, group_rows
from .dropout import Dropout, RandomMasks, TorchRandomness, seeded_torch, use_masks
from .embedding import accumulating_gradients, look_up, ordinary_gradients
from .filters import FrequencyFilter
from .linear import Linear, product
from .placing import GatheredArray, on_device
from .precision import PRECISIONS, computing_in, in_full_precision, is_narrow, narrow_type, widened
from .propagation import GraphPropagation
from .recurrent import GRU, TimeSteps, time_steps
from .transformer import DecoderLayer, EncoderLayer, initialize

__all__ = [
    "GRU",
    "PRECISIONS",
    "DecoderLayer",
    "Dropout",
    "EncoderLayer",
    "FrequencyFilter",
    "GatheredArray",
    "GraphPropagation",
    "Linear",
    "RaggedGroups",
    "Slots",
    "RandomMasks",
    "TorchRandomness",
    "TimeSteps",
    "accumulating_gradients",
    "attend",
    "computing_in",
    "group_rows",
    "in_full_precision",
    "initialize",
    "is_narrow",
    "look_up",
    "narrow_type",
    "on_device",
    "ordinary_gradients",
    "product",
    "seeded_torch",
    "time_steps",
    "use_masks",
    "widened",
]
