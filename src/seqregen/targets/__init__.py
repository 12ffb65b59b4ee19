"""Target models: the recommenders that a regenerated dataset is made for."""

from .base import SequentialRecommender
from .cl4srec import CL4SRec
from .gnn import GNN
from .network import NextItemNetwork
from .ranker import Ranker
from .sasrec import SASRec

__all__ = ["GNN", "CL4SRec", "NextItemNetwork", "Ranker", "SASRec", "SequentialRecommender"]
