"""The runs that the tables and figures of docs/results.md ask for, those first that teach most."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from .row_maker import WINDOWS
from .runs import Run

__all__ = ["PLAN", "Block", "planned_runs"]


@dataclass(frozen=True)
class Block:
    """Runs of every combination, the seed outermost: variants of one recipe and seed are compared with each other.

    Attributes
    ----------
    datasets, recipes, variants : tuple of str
    seeds : tuple of int
    """

    datasets: tuple[str, ...]
    recipes: tuple[str, ...]
    variants: tuple[str, ...]
    seeds: tuple[int, ...]

    def runs(self) -> list[Run]:
        """Each once, however often a name is given."""
        found = [
            Run(dataset, recipe, variant, seed)
            for seed, dataset, recipe, variant in product(self.seeds, self.datasets, self.recipes, self.variants)
        ]
        return list(dict.fromkeys(found))


_SMALL = ("amazon-beauty", "amazon-toys")
_SASREC = ("SASRec-bce", "SASRec-softmax")
_OTHERS = ("GRU4Rec-bce", "GNN-bce", "CL4SRec-bce", "FMLP-bce")
_OTHERS_SOFTMAX = ("GRU4Rec-softmax", "GNN-softmax", "CL4SRec-softmax", "FMLP-softmax")
_TABLE_3 = ("original", "mined", "regenerated", "personalized_reference")

PLAN: tuple[Block, ...] = (
    # Does it help at all, under the published loss and under a strong one, and is it the patterns or the steps?
    Block(_SMALL, _SASREC, _TABLE_3, (0,)),
    Block(_SMALL, _SASREC, ("expected", "taught_ensemble", "taught", "constant", "personalized"), (0,)),
    # Do a teacher's rows and mined ones add up?
    Block(_SMALL, _SASREC, ("taught_ensemble_mined",), (0, 2)),
    # Are patterns of few supporters noise?
    Block(_SMALL, ("SASRec-softmax",), ("mined_support_3",), (0,)),
    # Are mined rows more than weight for popular items, and does weight of other kinds help?
    Block(tuple(WINDOWS), _SASREC, ("mined_popularity",), (0,)),
    Block(("amazon-beauty",), ("SASRec-softmax",), ("recent", "users_alike", "rare", "popular"), (0,)),
    # Weights that move, and what constants of their size do.
    Block(_SMALL, _SASREC, ("personalized_moving", "constant_tenth"), (0, 1)),
    Block(("amazon-toys",), ("SASRec-bce",), ("personalized_unfixed",), (0,)),
    Block(
        ("amazon-beauty",),
        ("SASRec-bce",),
        ("expected_mined", "twice", "windows", "original_regenerated", "balanced"),
        (0,),
    ),
    # Tables 3 and 4, Figures 6 and 7.
    Block(_SMALL, ("SASRec-bce",), ("mined_only", "joint", "memories_1"), (0,)),
    Block(tuple(WINDOWS), ("SASRec-bce",), _TABLE_3, (0,)),
    Block(_SMALL, _OTHERS, _TABLE_3, (0,)),
    Block(
        ("amazon-beauty",),
        ("SASRec-bce",),
        ("rate_0", "rate_0.3", "rate_0.5", "rate_1", "memories_3", "memories_7", "memories_9"),
        (0,),
    ),
    # Figure 5.
    Block(_SMALL, ("GNN-bce-graph_regenerated", "CL4SRec-bce-augment_original"), ("regenerated",), (0,)),
    # Other losses of the same models, and what the chance of training is.
    Block(_SMALL, _OTHERS_SOFTMAX, ("original", "mined", "regenerated"), (0,)),
    Block(_SMALL, _SASREC, (*_TABLE_3, "expected", "taught_ensemble"), (1, 2)),
    Block(tuple(WINDOWS), _SASREC, _TABLE_3, (0, 1, 2)),
    Block(_SMALL, _OTHERS, _TABLE_3, (1,)),
)


def planned_runs() -> list[Run]:
    """All runs of the plan in their order, each once."""
    return list(dict.fromkeys(run for block in PLAN for run in block.runs()))
