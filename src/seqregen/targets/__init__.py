"""Target models: the recommenders that a regenerated dataset is made for."""

from .adapters.recbole_target import RecBoleTarget
from .adapters.rectools_target import RecToolsTarget
from .base import SequentialRecommender
from .cl4srec import CL4SRec
from .ensemble import Ensemble
from .fmlp import FMLP
from .gnn import GNN
from .gru4rec import GRU4Rec
from .network import NextItemNetwork
from .ranker import Ranker
from .sasrec import SASRec
from .torch_target import TorchTarget

__all__ = [
    "CL4SRec",
    "Ensemble",
    "FMLP",
    "GNN",
    "GRU4Rec",
    "NextItemNetwork",
    "Ranker",
    "RecBoleTarget",
    "RecToolsTarget",
    "SASRec",
    "SequentialRecommender",
    "TorchTarget",
]
