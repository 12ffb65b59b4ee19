"""Fingerprints: what tells runs apart, in this process and in others."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
import types
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from seqregen.training.fingerprint import fingerprint


def long(place: int) -> np.ndarray:
    """5,000 zeros, more than ``str`` shows, with a one among them."""
    return np.eye(1, 5000, place, dtype=np.float32)[0]


def test_fingerprints_tell_runs_apart():
    array = np.arange(4)
    base = fingerprint({"a": 1, "b": None}, 3, array)
    assert base == fingerprint({"b": None, "a": 1}, 3, array.copy())
    others = [
        fingerprint({"a": 2, "b": None}, 3, array),
        fingerprint({"a": 1, "b": None}, 4, array),
        fingerprint({"a": 1, "b": None}, 3, array.astype(np.int32)),
        fingerprint({"a": 1, "b": None}, 3, array.reshape(2, 2)),
        fingerprint({"a": 1, "b": None}, 3, array[::-1]),
    ]
    assert len({base, *others}) == 6


@dataclass
class Settings:
    rate: float


class Scaled(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale


def closing_over(value):
    return lambda n_items: (n_items, value)


def two_lambdas():
    return [lambda: 1, lambda: 2]


def reading(**variables):
    """A function whose globals are the given ones."""
    return types.FunctionType((lambda: rate).__code__, variables)  # noqa: F821


def class_of(rate):
    class Local:
        def forward(self):
            return rate

    return Local


@pytest.mark.parametrize(
    "values",
    [
        (long(2500), long(2501)),
        (torch.from_numpy(long(2500)), torch.from_numpy(long(2501))),
        ([long(2500)], [long(2501)]),
        ({"a": [long(2500)]}, {"a": [long(2501)]}),
        ({1: long(2500)}, {1: long(2501)}),
        (functools.partial(int, start=long(2500)), functools.partial(int, start=long(2501))),
        (closing_over(0.0), closing_over(0.5)),
        (closing_over(long(2500)), closing_over(long(2501))),
        (closing_over(closing_over(0.0)), closing_over(closing_over(0.5))),
        two_lambdas(),
        (lambda rate=0.0: rate, lambda rate=0.5: rate),
        (reading(rate=0.0), reading(rate=0.5)),
        (class_of(0.0), class_of(0.5)),
        (nn.Dropout(0.0), nn.Dropout(0.5)),
        (Scaled(1.0), Scaled(2.0)),
        (nn.Sequential(Scaled(1.0)), nn.Sequential(Scaled(2.0))),
        (nn.Sequential(nn.ReLU(), nn.Tanh()), nn.Sequential(nn.Tanh(), nn.ReLU())),
        (nn.Linear(2, 2), nn.Linear(2, 2)),
        (nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2), requires_grad=False)),
        (Settings(0.0), Settings(0.5)),
        (Settings(0.5).__eq__, Settings(0.0).__eq__),
        (np.array(["a", None], dtype=object), np.array(["b", None], dtype=object)),
        ({"a", "b"}, {"a", "c"}),
        (b"a", b"b"),
        (1 + 2j, 1 + 3j),
        (torch.float32, torch.float64),
        (functools.cache(closing_over(0.0)), functools.cache(closing_over(0.5))),
        (np.random.default_rng(0), np.random.default_rng(1)),
    ],
)
def test_a_difference_inside_is_seen(values):
    first, second = values
    assert fingerprint({"value": first}) != fingerprint({"value": second})


def circle():
    values = []
    values.append(values)
    return values


@pytest.mark.parametrize(
    "make",
    [
        lambda: closing_over(long(3)),
        lambda: class_of(0.5),
        lambda: nn.GRU(2, 2, bias=False).apply(lambda part: [nn.init.ones_(weight) for weight in part.parameters()]),
        lambda: Scaled(1.0),
        lambda: {"lock": threading.Lock(), "numbers": [np.int64(3), np.longdouble(1), np.datetime64("2020-01-01")]},
        lambda: Settings(0.5),
        lambda: [np.zeros((0, 3)), np.array(1.5), torch.zeros(0), torch.tensor(1.5), torch.eye(2).to_sparse()],
        lambda: torch.zeros(2, device="meta"),
        lambda: sys,
        circle,
    ],
)
def test_the_same_made_twice_is_the_same(make):
    assert fingerprint({"value": make()}) == fingerprint({"value": make()})


def test_a_hook_does_not_count():
    modules = [nn.Linear(2, 2, bias=False) for _ in range(2)]
    for module in modules:
        nn.init.ones_(module.weight)
        # Every hook of a process has a number of its own.
        module.register_forward_hook(two_lambdas()[0])
    assert fingerprint(modules[0]) == fingerprint(modules[1])


IN_ANOTHER_PROCESS = """
import functools, numpy as np, torch
from torch import nn
from seqregen.training.fingerprint import fingerprint
NAMES = {"one", "two", "three", "four"}
class Tower(nn.Module):
    def __init__(self, names=NAMES, start=None):
        super().__init__()
        self.names, self.start, self.act = names, start, torch.relu
        self.table = nn.Embedding.from_pretrained(torch.ones(3, 2), freeze=False)
        self.table.register_forward_hook(lambda *_: None)
        self.recurrent = nn.GRU(2, 2)
        for weight in self.recurrent.parameters():
            nn.init.ones_(weight)
    @torch.no_grad()
    def forward(self, items):
        return self.act(self.table(items)) if "one" in {"one", "six", "ten"} else NAMES
def make(names):
    return lambda n_items: Tower(names)
print(fingerprint({
    "class": Tower, "made": Tower(), "closure": make(frozenset(NAMES)),
    "partial": functools.partial(Tower, start=np.arange(5000)), "object": object(), "random": np.random.default_rng(0),
}))
"""


def test_another_process_has_the_same_fingerprint(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(IN_ANOTHER_PROCESS)
    seen = {
        subprocess.run(
            [sys.executable, str(script)],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(seen) == 1
