"""Recall and NDCG of ranked lists by ranx; runs in the peers' environment and prints one JSON line.

It is given the rank of each user's target and makes the lists of twenty that such ranks come from. Making the lists and
compiling are not timed, the metrics alone are.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from importlib.metadata import version

import numpy as np

K = 20
METRICS = ("recall@10", "ndcg@10", "recall@20", "ndcg@20")


def lists_of(ranks: np.ndarray) -> dict[str, dict[str, float]]:
    """For every user twenty items and their scores, the target at its rank, or nowhere where it ranks below."""
    others = [f"item {place}" for place in range(1, K + 1)]
    return {
        f"user {user}": {
            "target" if place == rank else name: float(K - place) for place, name in enumerate(others, start=1)
        }
        for user, rank in enumerate(ranks.tolist())
    }


def measure(ranks: np.ndarray) -> dict[str, object]:
    """Evaluate twice, the first time to compile."""
    import ranx

    targets = ranx.Qrels({f"user {user}": {"target": 1} for user in range(len(ranks))})
    run = ranx.Run(lists_of(ranks))
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        found = ranx.evaluate(targets, run, list(METRICS))
        seconds.append(time.perf_counter() - start)
    return {"peer": "ranx", "seconds": seconds[-1], "metrics": {name: float(found[name]) for name in METRICS}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", required=True, help="file of an integer array, one rank a user, from 1 (.npy)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    # ranx and what it needs warn at import of what does not touch the measurement.
    warnings.simplefilter("ignore")
    import numba

    numba.set_num_threads(options.threads)
    result = measure(np.load(options.ranks))
    result["threads"] = options.threads
    result["versions"] = {name: version(name) for name in ("ranx", "numba", "numpy")}
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
