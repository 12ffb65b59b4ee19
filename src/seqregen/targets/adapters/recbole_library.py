"""RecBole's models without RecBole's files, logs and settings of the whole process.

RecBole 1.2.1 was written for numpy 1 and for running as a program. Four methods of its ``Config`` are replaced, in a
subclass, so that nothing outside is touched:

* ``compatibility_settings`` puts names back into numpy that numpy 1.24 removed, taken from names that numpy 2 removed:
  it fails there, and elsewhere changes numpy for everybody. No model needs these names.
* ``_load_cmd_line`` reads the command line of the program that runs.
* ``_build_yaml_loader`` changes PyYAML's own loader.
* ``_init_device`` sets ``CUDA_VISIBLE_DEVICES``.

Models get a plain dict in place of the ``Config`` and the sizes of the data in place of a ``Dataset``. RecBole's data
sets, samplers, evaluators and trainers, which need more of numpy 1, are not used.
"""

from __future__ import annotations

import copy
import inspect
import re
import sys
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch

__all__ = ["RecBoleData", "RecBoleSettings", "find_model", "model_names", "read_settings"]

_HOW_TO_INSTALL = (
    'Install it: pip install "seqregen[recbole]".'
    if sys.version_info < (3, 12)
    else "RecBole 1.2.1 pins a version of ray that Python 3.12 and later do not have, and runs without: "
    'pip install "seqregen[recbole]", which brings the rest, then pip install --no-deps recbole.'
)

# Models that need more than sequences of items in batches, and what that is.
_UNSUPPORTED = {
    "DIEN": "it scores one item at a time, from features of items",
    "DIN": "it scores one item at a time, from features of items",
    "FDSA": "it reads features of items",
    "FEARec": "its loss looks other rows up in RecBole's own data set, a table of all padded prefixes, which is not "
    "made here",
    "GRU4RecF": "it reads features of items",
    "GRU4RecKG": "it reads a knowledge graph",
    "KSR": "it reads a knowledge graph",
    "S3Rec": "it reads features of items, and is pre-trained in a run of its own",
    "SASRecF": "it reads features of items",
}

# What RecBole's trainer reads, and the parameter of RecBoleTarget that stands for it.
_OF_THE_TRAINER = {
    "MAX_ITEM_LIST_LENGTH": "max_length",
    "device": "device",
    "epochs": "max_epochs",
    "gpu_id": "device",
    "learning_rate": "learning_rate",
    "neg_sampling": "n_negatives",
    "seed": "random_state",
    "stopping_step": "patience",
    "train_batch_size": "batch_size",
    "train_neg_sample_args": "n_negatives",
    "training_neg_sample_num": "n_negatives",
    "use_gpu": "device",
    "weight_decay": "weight_decay",
}

# Keys that models ask for and that no file of RecBole has.
_WITHOUT_DEFAULT = {"ft_ratio"}


class RecBoleSettings(dict):
    """Settings by name; like RecBole's ``Config``, None for what is not there."""

    def __missing__(self, name: str) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)


@dataclass
class RecBoleData:
    """What RecBole's models ask their data set for: numbers of users and items, 0 included.

    Attributes
    ----------
    user_num, item_num : int
    field2seqlen : dict
        Longest history, by the name of the column of histories.
    sizes : dict
        The two numbers by the names of their columns.
    """

    user_num: int
    item_num: int
    field2seqlen: dict[str, int]
    sizes: dict[str, int]

    def num(self, field: str) -> int:
        """How many values a column can have, 0 included."""
        return self.sizes[field]


def _load() -> Any:
    try:
        from recbole.model import sequential_recommender as models
    except ImportError as error:
        raise ImportError(
            f"RecBoleTarget needs RecBole, and it cannot be imported ({error}). {_HOW_TO_INSTALL}"
        ) from error
    return models


def model_names() -> list[str]:
    """RecBole's sequential models that need nothing but sequences."""
    models = _load()
    classes = [name for name, value in vars(models).items() if inspect.isclass(value)]
    return sorted(set(classes) - set(_UNSUPPORTED))


def find_model(model: Any) -> type:
    """The class of a model given by name or as a class.

    Raises
    ------
    ImportError
        RecBole is not there; the message names the extra.
    ValueError
        There is no such model, or it needs more than sequences; the message lists those there are.
    TypeError
        A class that is no sequential model of RecBole's kind.
    """
    names = model_names()
    if inspect.isclass(model):
        from recbole.model.abstract_recommender import SequentialRecommender

        if not issubclass(model, SequentialRecommender):
            raise TypeError(
                f"RecBoleTarget: model must derive from recbole.model.abstract_recommender.SequentialRecommender; "
                f"got the class {model.__module__}.{model.__qualname__}."
            )
        name = model.__name__
    else:
        name = model
    if isinstance(name, str) and name in _UNSUPPORTED:
        raise ValueError(f"RecBole's {name} cannot be trained on batches of sequences alone: {_UNSUPPORTED[name]}.")
    if inspect.isclass(model):
        return model
    if not isinstance(model, str) or model not in names:
        raise ValueError(f"RecBoleTarget: model must be a class or one of {', '.join(names)}; got {model!r}.")
    return getattr(_load(), model)


def check_config(config: Any) -> dict[str, Any]:
    """A copy of the user's settings, refused where the adapter's own parameters stand for them."""
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise TypeError(f"RecBoleTarget: config must be a dict of RecBole's settings or None; got {config!r}.")
    misplaced = [name for name in config if name in _OF_THE_TRAINER and config[name] is not None]
    if misplaced:
        moves = ", ".join(f"{name} -> {_OF_THE_TRAINER[name]}" for name in misplaced)
        raise ValueError(
            f"RecBoleTarget trains by its own parameters, not by RecBole's trainer; take these out of config and give "
            f"the parameter instead: {moves}."
        )
    # RecBole evaluates strings in the dict that it is given, in place.
    return copy.deepcopy({name: value for name, value in config.items() if name not in _OF_THE_TRAINER})


def read_settings(model_class: type, config: Any, max_length: int) -> tuple[RecBoleSettings, list[str]]:
    """All settings of a model, RecBole's defaults included, and those of ``config`` that have no default.

    Raises
    ------
    ValueError
        RecBole refuses the settings; the message is RecBole's.
    """
    own = check_config(config)
    given = own | {"MAX_ITEM_LIST_LENGTH": max_length, "train_neg_sample_args": None}
    try:
        read = _config_class()(model=model_class, dataset="sequences", config_dict=given)
    except Exception as error:
        raise refused(model_class, error) from error
    defaults = set(read.internal_config_dict) | _WITHOUT_DEFAULT
    return RecBoleSettings(read.final_config_dict), [name for name in own if name not in defaults]


def unknown_settings_message(model_class: type, unknown: list[str], settings: RecBoleSettings) -> str:
    """What to say of settings that RecBole has no default for: most often they are misspelt."""
    known = set(settings) - set(unknown)
    close = [match for name in unknown for match in get_close_matches(name, known, n=1)]
    advice = f" Did you mean {', '.join(map(repr, close))}?" if close else ""
    return (
        f"RecBoleTarget: RecBole's {model_class.__name__} has no default for {', '.join(map(repr, unknown))}, so that "
        f"it may not read it.{advice}"
    )


def refused(model_class: type, error: Exception) -> ValueError:
    """RecBole's complaint, with the model's name."""
    reason = f"it has no setting {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
    return ValueError(f"RecBole's {model_class.__name__} refuses its settings: {reason}")


def _config_class() -> type:
    import yaml
    from recbole.config import Config

    class QuietConfig(Config):
        """RecBole's settings, without its patches of numpy and without a look at the command line."""

        def compatibility_settings(self) -> None:
            pass

        def _load_cmd_line(self) -> dict:
            return {}

        def _build_yaml_loader(self) -> type:
            loader: Any = type("Loader", (yaml.FullLoader,), {})
            # YAML 1.1 takes 1e-12, without a point, for a string.
            number = re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")
            loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
            return loader

        def _init_device(self) -> None:
            self.final_config_dict |= {"device": torch.device("cpu"), "single_spec": True, "local_rank": 0}

    return QuietConfig
