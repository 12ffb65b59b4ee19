"""Target models: the recommenders that a regenerated dataset is made for."""

from .base import SequentialRecommender
from .network import NextItemNetwork
from .ranker import Ranker
from .sasrec import SASRec

__all__ = ["NextItemNetwork", "Ranker", "SASRec", "SequentialRecommender"]
