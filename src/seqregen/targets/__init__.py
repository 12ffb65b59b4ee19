"""Target models: the recommenders that a regenerated dataset is made for."""

from .base import SequentialRecommender
from .sasrec import SASRec

__all__ = ["SASRec", "SequentialRecommender"]
