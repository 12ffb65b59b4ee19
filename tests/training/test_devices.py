"""Choosing a device."""

from __future__ import annotations

import pytest
import torch

from seqregen.targets import SASRec
from seqregen.training import resolve_device


def test_auto_is_what_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("cuda")


def test_names_and_devices_are_passed_on():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x", None, 1.5])
def test_a_name_that_means_nothing(device):
    with pytest.raises(ValueError, match="is not a device; use 'auto'"):
        resolve_device(device)


@pytest.mark.parametrize("device", ["meta", "mps", "xpu:1", torch.device("meta")])
def test_a_device_of_torch_that_is_not_supported(device):
    with pytest.raises(ValueError, match=r"device=.* is not supported; use 'auto', 'cpu', 'cuda' or"):
        resolve_device(device)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", torch.device("cuda")])
def test_a_gpu_that_is_absent(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"no CUDA device is available; use device='auto'"):
        resolve_device(device)


def test_a_gpu_too_many(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ValueError, match="there are 1 CUDA devices"):
        resolve_device("cuda:1")


def test_an_estimator_says_so_in_fit(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="no CUDA device is available"):
        SASRec(device="cuda").fit([[1, 2, 3], [2, 3, 1]])
