"""Values that batches gather from a long array, on the CPU and on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqregen.datasets import make_sequences
from seqregen.nn import GatheredArray, placing
from seqregen.training import next_item_rows
from seqregen.training.prefixes import prefix_rows

DEVICES = [torch.device("cpu"), pytest.param(torch.device("cuda"), marks=pytest.mark.gpu)]


@pytest.fixture
def sent(monkeypatch):
    """Lengths of all arrays that a gathered array brings to a device."""
    lengths = []

    def on_device(values, device, _before=placing.on_device):
        lengths.append(len(values))
        return _before(values, device)

    monkeypatch.setattr(placing, "on_device", on_device)
    return lengths


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", [np.int64, np.float32, bool])
def test_values_keep_their_type_and_come_in_the_order_of_the_places(device, kind):
    values = np.array([0, 1, 2, 3]).astype(kind)
    values.flags.writeable = False
    found = GatheredArray(values).gather(np.array([3, 0, 3]), device)
    assert found.device.type == device.type
    np.testing.assert_array_equal(found.cpu().numpy(), values[[3, 0, 3]], strict=True)


@pytest.mark.gpu
def test_an_array_goes_to_a_gpu_once(sent):
    array = GatheredArray(np.arange(100))
    for _ in range(3):
        array.gather(np.array([1, 2]), torch.device("cuda"))
    assert sent == [100, 2, 2, 2]


@pytest.mark.gpu
@pytest.mark.parametrize("prepare", [next_item_rows, prefix_rows])
def test_training_rows_stay_on_the_gpu(prepare, sent):
    dataset = make_sequences(n_sequences=50, n_items=20, random_state=0)
    dataset = dataset.replace(weights=np.linspace(0.1, 1, dataset.n_interactions, dtype=np.float32))
    rows = prepare(dataset, max_length=50)
    devices = [torch.device("cuda"), torch.device("cpu")]
    for _ in range(2):
        batches = [rows.shuffled(16, np.random.default_rng(0), device) for device in devices]
        for there, here in zip(*batches, strict=True):
            for name in ("items", "targets", "weights", "positions", "last"):
                assert torch.equal(getattr(there, name).cpu(), getattr(here, name))
    assert sent.count(dataset.n_interactions) == 2  # items and weights
