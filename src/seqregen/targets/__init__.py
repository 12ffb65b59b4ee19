"""Target models: the recommenders that a regenerated dataset is made for."""

from .base import SequentialRecommender
from .cl4srec import CL4SRec
from .fmlp import FMLP
from .gnn import GNN
from .gru4rec import GRU4Rec
from .network import NextItemNetwork
from .ranker import Ranker
from .sasrec import SASRec
from .torch_target import TorchTarget

__all__ = ["FMLP", "GNN", "CL4SRec", "GRU4Rec", "NextItemNetwork", "Ranker", "SASRec", "SequentialRecommender", "TorchTarget"]
