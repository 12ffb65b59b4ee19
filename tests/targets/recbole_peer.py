"""RecBole's own data set, loader and evaluator on our export; they need numpy 1."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import torch

RECBOLE_READS_FILES = np.lib.NumpyVersion(np.__version__) < "2.0.0"
LOSS_OF_RECBOLE = {"loss_type": "CE", "train_neg_sample_args": None}


def open_export(path, max_length, monkeypatch, **changes):
    """The configuration and the whole data set that RecBole reads from an exported file."""
    from recbole.config import Config
    from recbole.data import create_dataset

    # RecBole reads its settings from the command line as well, and changes numpy and the environment.
    monkeypatch.setattr(sys, "argv", ["program"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for name in ("bool", "int", "float", "complex", "object", "str", "long", "unicode"):
        monkeypatch.setitem(vars(np), name, vars(np).get(f"{name}_"))
    settings = LOSS_OF_RECBOLE | {
        "data_path": str(path.parent.parent),
        "checkpoint_dir": str(path.parent / "saved"),
        "load_col": {"inter": ["user_id", "item_id", "timestamp", *changes.pop("columns", [])]},
        "MAX_ITEM_LIST_LENGTH": max_length,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "metrics": ["Recall", "NDCG"],
        "topk": [10, 20],
        "valid_metric": "NDCG@20",
        "metric_decimal_place": 10,
        "eval_batch_size": 2048,
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
    }
    with warnings.catch_warnings():
        # RecBole writes pandas' old way.
        warnings.simplefilter("ignore")
        config = Config("SASRec", path.parent.name, config_dict=settings | changes)
        return config, create_dataset(config)


def metrics_of_recbole(target, config, dataset):
    """Recall and NDCG of the test items by RecBole's own loader, model and evaluator, with a target's weights."""
    from recbole.data import data_preparation
    from recbole.model.sequential_recommender import SASRec
    from recbole.trainer import Trainer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train, _, test = data_preparation(config, dataset)
        model = SASRec(config, train.dataset)
        weights = target.network_.model.state_dict()
        tokens = dataset.field2id_token["item_id"][1:]
        code = {str(label): place + 1 for place, label in enumerate(target.vocabulary_.tolist())}
        order = torch.tensor([0] + [code[token] for token in tokens])
        model.load_state_dict(weights | {"item_embedding.weight": weights["item_embedding.weight"][order]})
        return dict(Trainer(config, model).evaluate(test, load_best_model=False, show_progress=False))
