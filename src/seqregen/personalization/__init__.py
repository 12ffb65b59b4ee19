"""Personalization: weights of training positions, learnt for one target model by bi-level optimisation."""

from .hypergradient import implicit_gradient
from .inspection import WeightSummary, plot_weights, summarize_weights
from .kernels import second_order_kernels
from .personalizer import DatasetPersonalizer

__all__ = [
    "DatasetPersonalizer",
    "WeightSummary",
    "implicit_gradient",
    "plot_weights",
    "second_order_kernels",
    "summarize_weights",
]
