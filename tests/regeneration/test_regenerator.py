"""The estimator: what it returns and reports, what it refuses, and that it repeats."""

from __future__ import annotations

import functools
import inspect
import pickle
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from seqregen import DatasetRegenerator, Origin, PatternMiner, SequenceDataset
from seqregen.inputs import UnseenItemsWarning
from seqregen.model_selection import hold_out_last, leave_one_out
from seqregen.pairs import PatternPairs
from seqregen.regeneration import RegenerationReport, regenerator
from seqregen.regeneration.decoding import DecodingSettings
from seqregen.regeneration.pretraining import pretrained_vectors, pretraining_rows
from seqregen.regeneration.schedules import schedule_of
from seqregen.training import TrainingPlan


def regenerated_rows(data: SequenceDataset) -> SequenceDataset:
    return data[data.origin == Origin.REGENERATED]


def lists(data: SequenceDataset, origin: Origin) -> list[list]:
    return data[data.origin == origin].to_lists()


@pytest.fixture
def result(tiny, mined):
    return tiny().fit_transform(mined)


def test_originals_then_mined_then_regenerated(result, mined, sequences):
    assert result.origin.tolist() == sorted(result.origin.tolist())
    assert lists(result, Origin.ORIGINAL) == sequences.to_lists()
    assert lists(result, Origin.MINED) == lists(mined, Origin.MINED)
    assert len(regenerated_rows(result)) > 40
    assert result.vocabulary is sequences.vocabulary
    assert result[: len(mined)].pairs == mined.pairs


def test_columns_of_the_input_are_carried_along(tiny, sequences):
    X = hold_out_last(sequences).replace(users=np.arange(100, 140))
    X = X.replace(weights=np.full(X.n_interactions, 2, dtype=np.float32))
    result = tiny().fit_transform(X)
    np.testing.assert_array_equal(result.users[:40], X.users)
    np.testing.assert_array_equal(result.validation[:40], X.validation)
    assert not result.validation[40:].any()
    assert set(result.weights[: X.n_interactions].tolist()) == {2}
    assert set(result.weights[X.n_interactions :].tolist()) == {1}


@pytest.mark.parametrize("generative_rate", [0.0, 0.6, 1.0])
def test_every_regenerated_row_keeps_the_rules(tiny, mined, sequences, generative_rate):
    result = tiny(generative_rate=generative_rate, deduplicate=False, max_length=5).fit_transform(mined)
    rows = regenerated_rows(result)
    sources = sequences.to_lists()
    places = np.flatnonzero(result.origin == Origin.REGENERATED)
    free_steps = result.free_steps[places]
    n_foreign = []
    for row, source, memory, free in zip(
        rows.to_lists(), result.source[places], result.memory[places], free_steps, strict=True
    ):
        assert 0 <= memory < 3
        assert 2 <= len(row) <= 5
        assert len(set(row)) == len(row)
        foreign = [item not in sources[source] for item in row]
        assert not any(foreign[:2])
        assert sum(foreign) <= free <= max(len(row) - 1, 0)
        n_foreign.append(sum(foreign))
    # In order of rows and memories; all sources alike.
    order = result.source[places] * 3 + result.memory[places]
    assert (np.diff(order) > 0).all()
    if generative_rate == 0:
        assert not free_steps.any()
    if generative_rate == 1:
        assert any(n_foreign)
        # Every step behind the first two, the end included unless the row was cut.
        lengths = rows.lengths
        assert all(np.isin(free_steps, [0, 1, 2, 3, 4]))
        np.testing.assert_array_equal(free_steps, np.minimum(lengths + 1, 6) - 2)
    assert (result.source[: places[0]] == -1).all()
    assert (result.memory[: places[0]] == -1).all()
    assert not result.free_steps[: places[0]].any()


@pytest.mark.parametrize("prefix", [0, 1, 3])
def test_the_prefix_is_restricted(tiny, mined, sequences, prefix):
    result = tiny(generative_rate=1.0, restrictive_prefix=prefix, deduplicate=False).fit_transform(mined)
    rows, sources = regenerated_rows(result), sequences.to_lists()
    source = result.source[result.origin == Origin.REGENERATED]
    inside = [[item in sources[s] for item in row] for row, s in zip(rows.to_lists(), source, strict=True)]
    assert all(all(row[:prefix]) for row in inside)
    assert not all(row[prefix] for row in inside if len(row) > prefix)


def test_rows_that_are_equal_are_kept_once_the_first_of_them(tiny, mined):
    everything = regenerated_rows(tiny(deduplicate=False).fit_transform(mined)).to_lists()
    kept = tiny().fit_transform(mined)
    expected = [row for number, row in enumerate(everything) if row not in everything[:number]]
    assert len(expected) < len(everything)
    assert lists(kept, Origin.REGENERATED) == expected


@pytest.mark.parametrize(
    "include",
    [
        ("original",),
        ("mined",),
        ("regenerated",),
        ["regenerated", "original"],
        ("mined", "regenerated"),
        ("regenerated", "mined", "original"),
    ],
)
def test_include_chooses_and_does_not_order(tiny, mined, result, include):
    chosen = tiny(include=include).fit_transform(mined)
    origins = [Origin[name.upper()] for name in ("original", "mined", "regenerated") if name in include]
    expected = result[np.isin(result.origin, origins)]
    assert chosen.to_lists() == expected.to_lists()
    np.testing.assert_array_equal(chosen.origin, expected.origin)
    if "regenerated" in include:
        np.testing.assert_array_equal(chosen.memory, expected.memory)
    if "original" in include and "regenerated" in include:
        source = result.source[result.origin == Origin.REGENERATED]
        np.testing.assert_array_equal(chosen.source[chosen.origin == Origin.REGENERATED], source)


def test_fit_transform_is_fit_and_transform(tiny, mined, sequences):
    assert tiny().fit(mined).transform(mined) == tiny().fit_transform(mined)
    model = tiny().fit(sequences)
    assert model.transform(sequences) == model.fit_transform(sequences.to_lists())
    # What was added is not regenerated from: a second time changes nothing.
    first = model.transform(sequences)
    assert model.transform(first) == first


def test_without_pairs_a_miner_is_fitted(tiny, sequences):
    model = tiny().fit(sequences)
    assert isinstance(model.miner_, PatternMiner)
    assert model.miner_.window == 3
    assert model.miner is not model.miner_
    alone = clone(model.miner_).fit_transform(sequences)
    assert lists(model.transform(sequences), Origin.MINED) == lists(alone, Origin.MINED)
    assert tiny(miner=None).fit(sequences).miner_.window == PatternMiner().window
    assert tiny().fit(alone).miner_ is None


def test_new_rows_are_regenerated_as_well(tiny, sequences):
    model = tiny(deduplicate=False, generative_rate=0.0).fit(sequences)
    new = sequences[20:].to_lists()[::-1]
    data = SequenceDataset.from_sequences(new, vocabulary=sequences.vocabulary)
    result = model.transform(data)
    assert result[:20].to_lists() == new
    every = model.transform(sequences)
    rows = {
        (source, memory): row
        for row, source, memory in zip(every.to_lists(), every.source.tolist(), every.memory.tolist(), strict=True)
    }
    for row, source, memory in zip(result.to_lists(), result.source.tolist(), result.memory.tolist(), strict=True):
        if source >= 0:
            assert row == rows[39 - source, memory]


def test_unseen_items_are_left_out_with_one_warning(tiny, sequences):
    model = tiny().fit(sequences)
    with pytest.warns(UnseenItemsWarning, match="-5") as caught:
        result = model.transform([[1, -5, 2, 3], [-5], []])
    assert len(caught) == 1
    assert result[:3].to_lists() == [[1, 2, 3], [], []]
    assert result.n_items == 20


def test_odd_rows_stay_in_place(tiny, sequences):
    rows = [[], *sequences.to_lists(), [3], []]
    result = tiny().fit_transform(rows)
    assert result[:43].to_lists() == rows
    assert set(result.source[result.origin == Origin.REGENERATED].tolist()) <= set(range(1, 41))


def test_only_the_last_items_of_long_rows_are_read(tiny):
    random = np.random.default_rng(0)
    rows = [[*random.integers(6, 20, 30).tolist(), *random.permutation(6).tolist()] for _ in range(20)]
    result = tiny(max_source_length=6, generative_rate=0.0, deduplicate=False).fit_transform(rows)
    assert len(regenerated_rows(result)) > 10
    assert max(item for row in regenerated_rows(result).to_lists() for item in row) < 6


def test_patterns_longer_than_what_is_read_do_no_harm(tiny):
    rows = [[1, 2] * 10] * 6
    miner = PatternMiner(window=9, max_patterns_per_sequence=None)
    model = tiny(max_source_length=3, max_length=2, item_embeddings=None, miner=miner)
    result = model.fit_transform(rows)
    assert result.lengths.max() == 20
    assert max(len(pattern) for pattern in lists(result, Origin.MINED)) == 9
    # Of what is read, [2, 1, 2]: itself, [2, 1], [1, 2] and [2, 2].
    assert model.n_pairs_ == 6 * 4


def test_the_random_state_decides(tiny, mined):
    first, again, other = (tiny(random_state=seed).fit_transform(mined) for seed in (3, 3, 4))
    assert first == again
    assert regenerated_rows(first).to_lists() != regenerated_rows(other).to_lists()
    by_generator = [tiny(random_state=np.random.RandomState(3)).fit_transform(mined) for _ in range(2)]
    assert by_generator[0] == by_generator[1]


def test_torchs_own_randomness_is_left_alone(tiny, mined):
    before = torch.get_rng_state()
    tiny().fit(mined).transform(mined)
    assert torch.equal(torch.get_rng_state(), before)


def test_y_and_validation_items_are_never_read(tiny, sequences):
    X, y = leave_one_out(sequences, validation=True)
    expected = tiny().fit(X, y).transform(X)
    assert expected == tiny().fit(X, y[::-1]).transform(X)
    other = X.replace(validation=X.validation % 20 + 1)
    assert expected.replace(validation=None) == tiny().fit_transform(other).replace(validation=None)
    assert expected.replace(validation=None) == tiny().fit_transform(X.replace(validation=None))


@pytest.mark.filterwarnings("error")
def test_pretrained_items_do_not_read_validation_items_either(tiny, sequences):
    X, _ = leave_one_out(sequences, validation=True)
    other = X.replace(validation=X.validation % 20 + 1)
    first, second = (tiny(item_embeddings="pretrain", max_epochs=1).fit_transform(data) for data in (X, other))
    assert first.replace(validation=None) == second.replace(validation=None)
    assert first.to_lists() != tiny(max_epochs=1).fit_transform(X).to_lists()


def test_item_vectors_may_be_given(tiny, mined, monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(20, 8))
    started = []
    train = regenerator.train

    def watching(network, *arguments, **options):
        started.append(network.tokens.weight.detach().clone())
        return train(network, *arguments, **options)

    monkeypatch.setattr(regenerator, "train", watching)
    tiny(item_embeddings=vectors).fit(mined)
    tiny(item_embeddings=vectors.tolist()).fit(mined)
    for table in started:
        np.testing.assert_array_equal(table[:20].numpy(), vectors.astype(np.float32))
        assert table.shape == (22, 8)
        assert 0.005 < table[20:].std() < 0.06


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros((19, 8)), r"shape \(20, 8\); got \(19, 8\)"),
        (np.zeros((20, 7)), r"shape \(20, 8\); got \(20, 7\)"),
        (np.zeros(20), r"shape \(20, 8\); got \(20,\)"),
        (np.where(np.arange(160).reshape(20, 8) == 77, np.nan, 0.0), r"finite; row 9 \(10\) is not"),
        (np.where(np.arange(160).reshape(20, 8) == 0, np.inf, 0.0), r"finite; row 0 \(1\) is not"),
        ("sasrec", "must be 'pretrain', an array or None; got 'sasrec'"),
    ],
)
def test_item_vectors_that_do_not_fit(tiny, mined, vectors, message):
    with pytest.raises(ValueError, match=message):
        tiny(item_embeddings=vectors).fit(mined)


def test_a_miner_that_is_none(tiny, sequences):
    with pytest.raises(TypeError, match="miner must be a PatternMiner or None; got 5"):
        tiny(miner=5).fit(sequences)


def test_a_seed_of_the_miner_is_its_own(tiny, sequences):
    assert tiny(miner=PatternMiner(window=3, random_state=7)).fit(sequences).miner_.random_state == 7
    assert tiny(miner=PatternMiner(window=3)).fit(sequences).miner_.random_state is not None


def test_rows_that_others_added_stay_whole(tiny, mined, sequences):
    weights = np.where(np.repeat(mined.origin == Origin.MINED, mined.lengths), 0.25, 1).astype(np.float32)
    given = mined.replace(weights=weights)
    taught = given.append(np.array([1, 2, 3]), np.array([0, 3]), Origin.REGENERATED, source=np.array([5]))
    model = tiny().fit(taught)
    result = model.transform(taught)
    before = len(mined)
    np.testing.assert_array_equal(result.weights[: mined.n_interactions], weights)
    assert result[before : before + 1].to_lists() == taught[before:].to_lists()
    assert result.source[before] == 5
    assert result.memory[before] == -1
    assert result.pairs.take(np.arange(before)) == mined.pairs
    assert len(regenerated_rows(result)) == 1 + model.report_.kept > 1
    assert model.transform(result) == result
    # The order in which they are given does not matter.
    mixed = taught[np.random.default_rng(0).permutation(len(taught))]
    origins = model.transform(mixed).origin.tolist()
    assert origins == sorted(origins)
    without = tiny(include=("original", "mined")).fit(taught).transform(taught)
    assert without.origin.max() == Origin.MINED


def test_one_memory_has_no_entropy(tiny, mined):
    model = tiny(n_memories=1).fit(mined)
    assert model.gate_entropy_ == 0
    assert {(record["gate_entropy"], str(record["memory_entropy"])) for record in model.history_} == {(0, "0.0")}


def test_rows_too_short_to_pretrain_on_say_so(tiny):
    with pytest.warns(
        UserWarning, match="no row is long enough to pretrain item vectors on; they start at rand"
    ) as seen:
        fitted = tiny(item_embeddings="pretrain").fit([[1, 2], [1, 2], [1, 2]])
    assert seen[0].filename == __file__
    assert fitted.network_ is not None


def test_rows_of_two_items_are_pretrained_on_whole(tiny):
    # A warning, as of a recommender that learns nothing from most rows, would be an error here.
    rows = PatternMiner(random_state=0).fit_transform([[1, 2], [2, 3]] * 4 + [[1, 2, 3]] * 2)
    assert pretraining_rows(rows).originals().to_lists() == [[1, 2], [2, 3]] * 4 + [[1, 2]] * 2
    assert tiny(item_embeddings="pretrain").fit(rows).network_ is not None


def test_a_checkpoint_directory_that_is_a_file_is_told_before_training(tiny, mined, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=r"checkpoint_dir='.*file' is a file; give a directory"):
        tiny(checkpoint_dir=tmp_path / "file").fit(mined)


def test_without_the_originals_there_is_no_source(tiny, mined):
    regenerated = regenerated_rows(tiny(include=("mined", "regenerated")).fit_transform(mined))
    assert set(regenerated.source.tolist()) == {-1}


def test_no_pattern_says_so_and_loses_nothing(tiny):
    rows = [[1, 2], [3, 4], [5, 6]]
    model = tiny()
    with (
        pytest.warns(UserWarning, match="no pattern of two or more items"),
        pytest.warns(UserWarning, match="found no .* pair to learn from.*min_support") as caught,
    ):
        model.fit(rows)
    assert sum("pair to learn from" in str(warning.message) for warning in caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = model.transform(rows)
    assert result.to_lists() == rows
    assert (model.report_.pairs, model.report_.kept, model.report_.rows_without_pattern) == (0, 0, 3)
    assert pickle.loads(pickle.dumps(model)).transform(rows) == result


def test_pairs_out_of_reach_are_counted_and_named_where_there_are_no_others(tiny):
    rows = [list(range(1, 31))] * 10
    mined = PatternMiner(window=5, pair_length=None, random_state=0).fit_transform(rows)
    model = tiny(max_source_length=12, item_embeddings=None).fit(mined)
    model.transform(mined)
    report = model.report_
    assert report.pairs_out_of_reach == model.n_pairs_out_of_reach_ > 0
    assert report.pairs + report.pairs_out_of_reach == len(mined.pairs)
    with pytest.warns(UserWarning, match=r"none of the \d+ patterns lies in the last max_source_length=1 items"):
        tiny(max_source_length=1, item_embeddings=None).fit(mined)


def test_rows_without_originals_are_refused(tiny, sequences):
    miner = PatternMiner(window=5, include=("mined",), random_state=0)
    with pytest.raises(ValueError, match=r"PatternMiner\(.*gives no original rows. Its include must hold 'original'"):
        tiny(miner=miner).fit(sequences)
    with pytest.raises(ValueError, match=r"none of the rows is original\. Fit on the original rows"):
        tiny().fit(miner.fit_transform(sequences))


def test_the_report_adds_up(tiny, mined, sequences):
    model = tiny(deduplicate=False).fit(mined)
    everything = model.transform(mined)
    model.set_params(deduplicate=True)
    result = model.transform(mined)
    report = model.report_
    assert isinstance(report, RegenerationReport)
    rows = lists(result, Origin.REGENERATED)
    n_long = len(lists(everything, Origin.REGENERATED))
    # This dataset has nothing but usable pairs: every pattern lies in the last 48 items.
    assert report.pairs == len(mined.pairs) == model.n_pairs_
    assert report.pairs_out_of_reach == 0
    assert report.rows_without_pattern == int((np.diff(mined.pairs.offsets)[:40] == 0).sum())
    assert report.decodes == 120
    assert report.too_short == 120 - n_long
    assert report.duplicates == n_long - len(rows)
    assert report.kept == len(rows) == sum(report.kept_by_memory)
    memories = result.memory[result.origin == Origin.REGENERATED]
    assert report.kept_by_memory == tuple((memories == memory).sum() for memory in range(3))
    assert report.mean_length == pytest.approx(np.mean([len(row) for row in rows]))
    known, sources = lists(mined, Origin.MINED), sequences.to_lists()
    pieces = {tuple(row[a:b]) for row in sources for a in range(len(row)) for b in range(a + 1, len(row) + 1)}
    new = [row not in known and tuple(row) not in pieces for row in rows]
    assert report.share_new == pytest.approx(np.mean(new))
    assert sum(report.memory_use) == pytest.approx(1)
    assert report.memory_entropy == pytest.approx(-sum(use * np.log(use) for use in report.memory_use if use), abs=1e-6)
    assert 0 <= report.gate_entropy <= report.memory_entropy + 1e-9 <= np.log(3) + 2e-9
    assert str(report).splitlines()[6].split() == ["kept", str(len(rows))]


def test_balancing_uses_the_memories_more_evenly(tiny, mined):
    entropies = {
        weight: tiny(gate_balance_weight=weight, max_epochs=6, learning_rate=0.02)
        .fit(mined)
        .history_[-1]["memory_entropy"]
        for weight in (0.0, 1.0)
    }
    assert entropies[1.0] > entropies[0.0] + 0.3
    assert entropies[1.0] > 0.8 * np.log(3)


def test_it_learns_to_say_the_patterns(tiny):
    rows = [[start, start + 1, start + 2, start + 3] for start in range(0, 20, 4) for _ in range(4)]
    model = tiny(n_memories=1, max_epochs=20, dropout=0.0, learning_rate=0.01, miner=PatternMiner(window=2))
    result = model.fit(rows)
    assert result.history_[-1]["loss"] < result.history_[0]["loss"] / 2


def test_history(tiny, mined):
    history = tiny().fit(mined).history_
    assert [record["epoch"] for record in history] == [0, 1]
    assert {"loss", "gate_entropy", "memory_entropy", "seconds"} <= set(history[0])


def test_the_number_of_jobs_changes_nothing(tiny, sequences, monkeypatch):
    in_chunks = functools.partial(DecodingSettings, rows_at_once=6)
    monkeypatch.setattr(regenerator, "DecodingSettings", in_chunks)
    alone, shared = (tiny(n_jobs=n_jobs).fit(sequences) for n_jobs in (None, 2))
    assert shared.transform(sequences) == alone.transform(sequences)
    assert tiny(n_jobs=2, miner=None, max_epochs=1).fit(sequences).miner_.n_jobs == 2


@pytest.mark.parametrize("schedule", ["constant", "cosine", "published"])
def test_schedules(schedule):
    factor = schedule_of(schedule, 200)
    steps = [1.0 if factor is None else factor(step) for step in range(201)]
    expected = {
        "constant": np.ones(201),
        "cosine": (1 + np.cos(np.pi * np.arange(201) / 200)) / 2,
        "published": (1 + np.cos(2 * np.pi * np.arange(201) / 80)) / 2,
    }
    np.testing.assert_allclose(steps, expected[schedule], atol=1e-12)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_by": "pair"},
        {"candidates": "all"},
        {"encoder_mask": "causal"},
        {"encoder_mask": "published"},
        {"gate": "softmax"},
        {"schedule": "constant"},
        {"schedule": "published"},
        {"gate_entropy_weight": 0.0},
        {"gate_balance_weight": 1.0},
        {"gate_temperature_decay": 0.5},
    ],
)
def test_every_option_changes_what_is_learnt(tiny, mined, changes):
    base, changed = tiny().fit(mined), tiny(**changes).fit(mined)
    assert base.history_[-1]["loss"] != changed.history_[-1]["loss"]
    assert len(regenerated_rows(changed.transform(mined))) > 0


def test_the_reference_is_the_published_script(tiny):
    reference, default = DatasetRegenerator.reference(), DatasetRegenerator()
    assert reference.get_params() == default.get_params() | {
        "generative_rate": 1.0,
        "batch_by": "pair",
        "encoder_mask": "published",
        "gate_balance_weight": 0.0,
        "schedule": "published",
        "pretraining_loss": "bce",
    }
    published = {
        "n_memories": 5, "embedding_dim": 64, "n_layers": 2, "n_heads": 2, "hidden_dim": 256, "dropout": 0.5,
        "max_epochs": 40, "batch_size": 256, "learning_rate": 1e-3, "max_source_length": 48, "max_length": 23,
        "restrictive_prefix": 2, "candidates": "source", "gate": "gumbel", "gate_temperature": 1.0,
        "gate_temperature_decay": 0.995, "gate_temperature_floor": 0.1, "gate_entropy_weight": 1.0,
        "item_embeddings": "pretrain", "deduplicate": True,
    }  # fmt: skip
    assert {name: getattr(reference, name) for name in published} == published
    assert default.generative_rate == 0.1
    assert DatasetRegenerator.reference(n_memories=2, schedule="constant").schedule == "constant"
    assert set(inspect.signature(DatasetRegenerator).parameters) == set(default.get_params())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_memories": 0}, "n_memories must be an integer >= 1"),
        ({"generative_rate": 1.1}, r"generative_rate must be a number in \[0, 1\]"),
        ({"generative_rate": -0.1}, "generative_rate must be"),
        ({"embedding_dim": 9}, "n_heads=2 must divide embedding_dim=9"),
        ({"max_length": 1}, "max_length must be an integer >= 2"),
        ({"max_source_length": 0}, "max_source_length must be"),
        ({"restrictive_prefix": -1}, "restrictive_prefix must be"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"n_jobs": 0}, "n_jobs must be an integer, -1 for all processors, or None for one job; got 0"),
        ({"schedule": "linear"}, "schedule must be one of 'constant', 'cosine', 'published'"),
        ({"batch_by": "row"}, "batch_by must be one of"),
        ({"candidates": "some"}, "candidates must be one of"),
        ({"encoder_mask": None}, "encoder_mask must be one of"),
        ({"gate": "hard"}, "gate must be one of"),
        ({"gate_temperature": 0}, "gate_temperature must be"),
        ({"gate_entropy_weight": -1}, "gate_entropy_weight must be"),
        ({"include": ()}, "include must be a tuple of names"),
        ({"include": "original"}, "include must be a tuple of names"),
        ({"include": None}, "include must be a tuple of names"),
        ({"include": ("original", "invented")}, "include must be a tuple of names"),
        ({"learning_rate": 0}, "learning_rate must be"),
        ({"device": "abacus"}, "is not a device"),
        ({"deduplicate": "no"}, "deduplicate must be True or False"),
        ({"pretraining_loss": "mse"}, "DatasetRegenerator: pretraining_loss must be one of '"),
    ],
)
def test_bad_parameters_are_named_in_fit(tiny, mined, changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes).fit(mined)


def test_not_fitted_clone_and_pickle(tiny, mined):
    model = tiny()
    with pytest.raises(NotFittedError):
        model.transform(mined)
    expected = model.fit_transform(mined)
    assert clone(model).get_params().keys() == model.get_params().keys()
    assert not hasattr(clone(model), "network_")
    assert clone(model).fit_transform(mined) == expected
    assert pickle.loads(pickle.dumps(model)).transform(mined) == expected


class Interrupt(Exception):
    pass


@pytest.mark.parametrize("epoch", [1, 2])
def test_an_interrupted_fit_goes_on_to_the_same_result(tiny, mined, tmp_path, monkeypatch, epoch):
    expected = tiny(max_epochs=4).fit(mined)
    with monkeypatch.context() as patch:
        patch.setattr(regenerator, "TrainingPlan", functools.partial(TrainingPlan, checkpoint_seconds=0))
        draw, calls = regenerator.PairTable.shuffled, iter(range(100))

        def shuffled(table, *arguments):
            number = next(calls)
            for batch in draw(table, *arguments):
                if number == epoch:
                    raise Interrupt
                yield batch

        patch.setattr(regenerator.PairTable, "shuffled", shuffled)
        with pytest.raises(Interrupt):
            tiny(max_epochs=4, checkpoint_dir=tmp_path).fit(mined)
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("DatasetRegenerator-")
    resumed = tiny(max_epochs=4, checkpoint_dir=tmp_path).fit(mined)
    for ours, theirs in zip(
        resumed.network_.state_dict().values(), expected.network_.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert resumed.transform(mined) == expected.transform(mined)
    assert [record["loss"] for record in resumed.history_] == [record["loss"] for record in expected.history_]
    tiny(max_epochs=4, checkpoint_dir=tmp_path, dropout=0.4).fit(mined)
    assert len(list(tmp_path.iterdir())) == 2
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=f"{path.name} cannot be read"):
        tiny(max_epochs=4, checkpoint_dir=tmp_path).fit(mined)


def test_pretraining_rows_leave_out_what_only_held_out_items_make_frequent():
    # [7, 8] is in two rows; the second time its 8 is the item that is held out.
    rows = [[1, 2, 3], [1, 2, 4], [7, 8, 5], [6, 7, 8]]
    mined = PatternMiner(window=3, min_support=2, random_state=0).fit_transform(rows)
    assert [1, 2] in mined.to_lists()
    assert [7, 8] in mined.to_lists()
    prepared = pretraining_rows(mined)
    assert prepared.to_lists() == [[1, 2], [1, 2], [7, 8], [6, 7], [1, 2]]
    assert prepared.validation[:4].tolist() == prepared.validation[prepared.validation > 0].tolist()


def test_pairs_stand_in_order_in_what_is_read_of_a_row():
    # 23 patterns are in the row, the last three items [9, 2, 1] hold four of them.
    mined = PatternMiner(window=5, max_patterns_per_sequence=None, include=("original",)).fit_transform(
        [[1, 2, 9, 2, 1]] * 3
    )
    regenerator = DatasetRegenerator(max_source_length=3, max_epochs=1, item_embeddings=None, embedding_dim=8)
    regenerator.fit(mined)
    held = len({pattern for pattern in map(tuple, patterns_of(mined)) if is_within(pattern, (9, 2, 1))})
    assert held == 4
    assert regenerator.n_pairs_ == 3 * held
    assert regenerator.n_pairs_out_of_reach_ == len(mined.pairs) - 3 * held


def patterns_of(data):
    """The labels of each pattern."""
    pairs = data.pairs
    labels = data.vocabulary[pairs.pattern_items - 1].tolist()
    return [labels[start:stop] for start, stop in pairwise(pairs.pattern_offsets)]


def is_within(pattern, row):
    items = iter(row)
    return all(any(item == wanted for item in items) for wanted in pattern)


def test_parts_that_were_pickled_apart_make_no_mined_row_twice(sequences):
    mined = PatternMiner(window=3, min_support=2, include=("original",), random_state=0).fit_transform(sequences)
    half = len(mined) // 2
    apart = SequenceDataset.concatenate([pickle.loads(pickle.dumps(part)) for part in (mined[:half], mined[half:])])
    assert apart == mined
    tables = mined.replace(pairs=PatternPairs.concatenate([mined[:half].pairs, shuffled_table(mined[half:].pairs)]))
    regenerator = DatasetRegenerator(max_epochs=1, item_embeddings=None, embedding_dim=8, random_state=0)
    rows = regenerator.fit_transform(tables)
    rows = rows[rows.origin == Origin.MINED].to_lists()
    assert len(set(map(tuple, rows))) == len(rows) == mined.pairs.n_patterns


def shuffled_table(pairs):
    """The same pairs over a table that is the other way round."""
    last = pairs.n_patterns - 1
    items = [pairs.pattern_items[start:stop] for start, stop in pairwise(pairs.pattern_offsets)][::-1]
    offsets = np.cumsum([0, *map(len, items)])
    return PatternPairs(pairs.offsets, last - pairs.patterns, np.concatenate(items), offsets)


def test_what_is_set_behind_fit_does_not_undo_what_was_learnt(tiny, mined):
    fitted = tiny().fit(mined)
    expected = fitted.transform(mined)
    assert fitted.set_params(n_memories=7, embedding_dim=12, n_heads=3).transform(mined) == expected
    assert len(fitted.report_.kept_by_memory) == 3
    with pytest.raises(ValueError, match=r"max_source_length=90 and max_length=6 need more positions .* fit again"):
        fitted.set_params(max_source_length=90).transform(mined)


@pytest.mark.parametrize(
    "changes", [{"generative_rate": 2}, {"max_length": -1}, {"include": "all"}, {"restrictive_prefix": 0.5}]
)
def test_parameters_of_transform_that_are_set_behind_fit_are_checked(tiny, mined, changes):
    fitted = tiny().fit(mined).set_params(**changes)
    with pytest.raises(ValueError, match=f"DatasetRegenerator: {next(iter(changes))} must be"):
        fitted.transform(mined)


def test_a_regenerator_of_a_device_that_is_absent_transforms(tiny, mined):
    fitted = tiny().fit(mined)
    expected = fitted.transform(mined)
    assert fitted.set_params(device="cuda:99").transform(mined) == expected


def test_adam_is_the_published_one(monkeypatch, tiny):
    plans, original = [], regenerator.train
    monkeypatch.setattr(regenerator, "train", lambda *args, **rest: plans.append(args[3]) or original(*args, **rest))
    tiny(max_epochs=1, item_embeddings=None).fit([[1, 2, 3], [1, 2], [2, 3]])
    (plan,) = plans
    assert (plan.betas, plan.epsilon, plan.learning_rate) == ((0.9, 0.98), 1e-9, 1e-3)


def test_the_seed_decides_pretrained_vectors():
    settings = {"loss": "bce", "embedding_dim": 8, "n_heads": 2, "max_epochs": 1, "device": "cpu"}
    data = SequenceDataset.from_sequences([[1, 2, 3], [1, 2], [2, 3]])
    first, again, other = (pretrained_vectors(data, seed=seed, **settings) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
