"""Weights in groups and as a picture."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from seqregen import Origin, SequenceDataset
from seqregen.personalization import plot_weights, summarize_weights
from seqregen.personalization.applying import position_weights
from seqregen.personalization.weighting import WeightingNetwork
from seqregen.targets import SASRec


@pytest.fixture
def weighted() -> SequenceDataset:
    """Two original rows and a mined one; weights of targets are tenths, those of first items are 9."""
    data = SequenceDataset.from_sequences([["a", "b", "c", "a"], ["b", "a"]])
    data = data.append(np.array([1, 2]), np.array([0, 2]), Origin.MINED)
    weights = np.array([9, 0.1, 0.2, 0.3, 9, 0.4, 9, 1], dtype=np.float32)
    return data.replace(weights=weights)


def test_by_origin(weighted):
    found = summarize_weights(weighted)
    assert list(found) == ["original", "mined"]
    original = found["original"]
    assert original.n_targets == 4
    values = np.array([0.1, 0.2, 0.3, 0.4])
    expected = (values.mean(), values.std(), 0.1, 0.4)
    assert original[1:] == pytest.approx(expected, rel=1e-6)
    assert found["mined"] == (1, 1.0, 0.0, 1.0, 1.0)


def test_by_position(weighted):
    found = summarize_weights(weighted, by="position")
    assert {name: summary.n_targets for name, summary in found.items()} == {"2": 3, "3": 1, "4": 1}
    assert found["2"].mean == pytest.approx((0.1 + 0.4 + 1) / 3)
    long = SequenceDataset.from_sequences([list(range(30))]).replace(weights=np.arange(30, dtype=np.float32))
    found = summarize_weights(long, by="position")
    assert found["20"] == (11, 24.0, pytest.approx(np.arange(19, 30).std()), 19.0, 29.0)


def test_by_popularity():
    rows = [["x", label] for label, count in (("rare", 1), ("some", 3), ("often", 6)) for _ in range(count)]
    data = SequenceDataset.from_sequences(rows)
    names = np.array([row[1] for row in rows])
    weights = np.ones(data.n_interactions, dtype=np.float32)
    weights[1::2] = np.select([names == "rare", names == "some"], [0.1, 0.2], 0.3)
    found = summarize_weights(data.replace(weights=weights), by="popularity")
    assert sum(summary.n_targets for summary in found.values()) == 10
    means = [summary.mean for summary in found.values()]
    assert means == sorted(means)
    assert means[-1] == pytest.approx(0.3)


def test_a_fitted_personalizer_has_them(tiny, mined):
    personalizer = tiny().fit(mined)
    weighted = personalizer.transform(mined)
    assert personalizer.weights_by_origin_ == summarize_weights(weighted)
    assert personalizer.weights_by_popularity_ == summarize_weights(weighted, "popularity")
    assert personalizer.weights_by_position_ == summarize_weights(weighted, "position")


def test_what_cannot_be_looked_at(weighted, monkeypatch):
    with pytest.raises(ValueError, match="by must be one of 'origin', 'popularity', 'position'; got 'user'"):
        summarize_weights(weighted, by="user")
    with pytest.raises(ValueError, match="the dataset has no weights"):
        summarize_weights(weighted.replace(weights=None))
    with pytest.raises(ValueError, match="no row has a weight other than 1"):
        plot_weights(weighted.replace(weights=np.ones(8, dtype=np.float32)))
    for size in (0, 2.5, "3", None, True, np.nan):
        with pytest.raises(ValueError, match=f"n_positions must be an integer of at least 1; got {size!r}"):
            plot_weights(weighted, n_positions=size)
    with pytest.raises(TypeError, match="weights are those of a SequenceDataset; got a list"):
        summarize_weights([[1, 2]])
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'seqregen\[plot\]'"):
        plot_weights(weighted)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_picture_shows_targets_and_nothing_else(weighted):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    ones = weighted.weights.copy()
    ones[[0, 4, 6]] = 1
    ax = plot_weights(weighted.replace(weights=ones), n_rows=3, n_positions=2)
    shown = ax.images[0].get_array()
    # The mined row is fixed and left out; of the first row two of three targets fit.
    np.testing.assert_allclose(shown.filled(-1), [[0.1, 0.2], [0.4, -1]])
    assert ax.get_title() == f"variance {np.array([0.1, 0.2, 0.4]).var():.4f}"
    assert ax.images[0].get_clim() == (0, 1)
    heavy = plot_weights(weighted.replace(weights=3 * ones), n_rows=3, n_positions=2)
    assert heavy.images[0].get_clim() == pytest.approx((0, 3))
    other = ax.figure.subplots()
    assert plot_weights(weighted.replace(weights=ones), ax=other) is other
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize("leaning", [0.5, 1.0, 3.0])
def test_expected_weights_are_the_mean_over_the_noise(leaning):
    network = WeightingNetwork(4, 8, "state", temperature=1.0, floor=0.1)
    means = []
    for sign in (1, -1):
        with torch.no_grad():
            network.contract.weight.zero_()
            network.contract.bias.copy_(torch.tensor([sign * leaning, 0.0]))
        means.append(network.expected(torch.zeros(1, 4)).item())
    # The mean of sigmoid(z + L) for a logistic L, in closed form.
    odds = np.exp(leaning)
    assert means[0] == pytest.approx(odds * (odds - 1 - leaning) / (odds - 1) ** 2, abs=2e-3)
    assert sum(means) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("bias", [1000.0, -1000.0])
def test_weights_never_become_0_or_1(bias):
    data = SequenceDataset.from_sequences([[1, 2, 3, 4], [2, 3, 4], [5, 4, 3]])
    model = SASRec(embedding_dim=8, max_epochs=1, random_state=0).fit(data)
    weighting = WeightingNetwork(8, 4, "state", 1.0, 0.1, noise=False).eval()
    with torch.no_grad():
        weighting.contract.bias.copy_(torch.tensor([bias, 0.0]))
    weights = np.delete(position_weights(model.network_, weighting, data, 50), data.offsets[:-1])
    assert (weights > 0).all()
    assert (weights < 1).all()
