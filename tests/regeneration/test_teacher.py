"""TeacherRegenerator: rows that go on as a trained recommender expects."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline

from seqregen import (
    DatasetPersonalizer,
    Origin,
    PatternMiner,
    RankFilter,
    RegeneratedRecommender,
    SequenceDataset,
    TeacherRegenerator,
)
from seqregen.inputs import check_sequences
from seqregen.model_selection import leave_one_out
from seqregen.targets import FMLP, Ranker, SASRec


class FixedScores(Ranker):
    """Scores every item the same after every history."""

    def __init__(self, scores=()):
        self.scores = scores

    def fit(self, X, y=None):
        self.rows_ = check_sequences(X)
        self.vocabulary_ = self.rows_.vocabulary
        return self

    def _scores(self, histories):
        table = torch.tensor(np.asarray(self.scores, dtype=np.float32))
        return lambda start, stop: table.expand(stop - start, -1).clone()


@pytest.fixture
def sasrec() -> SASRec:
    return SASRec(embedding_dim=8, n_layers=1, hidden_dim=8, max_epochs=2, batch_size=16, random_state=0)


def taught(sasrec, **changes) -> TeacherRegenerator:
    return TeacherRegenerator(sasrec, **({"n_items": 3, "random_state": 0} | changes))


def added(data: SequenceDataset) -> SequenceDataset:
    return data[data.origin == Origin.REGENERATED]


def test_new_rows_are_the_old_ones_with_drawn_items_behind(sasrec, mined):
    result = taught(sasrec, n_copies=2, weight=0.5).fit_transform(mined)
    n_originals = mined.n_original
    assert result[: len(mined)].replace(weights=None) == mined
    assert (result.weights[: mined.n_interactions] == 1).all()
    assert len(result) == len(mined) + 2 * n_originals
    assert result.source[len(mined) :].tolist() == [*range(n_originals)] * 2
    for number, row in enumerate(added(result).to_lists()):
        source = mined.to_lists()[number % n_originals]
        assert row[: len(source)] == source
        assert len(set(row)) == len(set(source)) + 3 == len(set(source)) + len(row) - len(source)
    weights = added(result).weights
    assert set(weights) == {np.float32(0), np.float32(0.5)}
    assert np.count_nonzero(weights) == 2 * n_originals * 3
    assert weights[added(result).offsets[1:] - 1].all()


def test_weights_that_are_there_stay(sasrec, sequences):
    weights = np.linspace(0.1, 0.9, sequences.n_interactions, dtype=np.float32)
    result = taught(sasrec).fit_transform(sequences.replace(weights=weights))
    np.testing.assert_array_equal(result.weights[: len(weights)], weights)


def test_weights_that_are_no_weights_are_refused(sasrec, sequences):
    model = taught(sasrec).fit(sequences)
    weights = np.ones(sequences.n_interactions, dtype=np.float32)
    weights[3] = np.nan
    with pytest.raises(ValueError, match="weights must be finite and not negative; got nan in row 0, position 3"):
        model.transform(sequences.replace(weights=weights))


def test_items_are_drawn_by_their_probabilities():
    rows = SequenceDataset.from_sequences([["a"]] * 20_000 + [["b", "c"]], vocabulary=["a", "b", "c"])
    teacher = FixedScores(scores=np.log([0.7, 0.2, 0.1]))
    for temperature in (1.0, 0.5):
        model = TeacherRegenerator(teacher, n_items=1, temperature=temperature, exclude_history=False, random_state=0)
        drawn = added(model.fit_transform(rows)).items[1:40_000:2]
        expected = np.array([0.7, 0.2, 0.1]) ** (1 / temperature)
        share = np.bincount(drawn, minlength=4)[1:] / len(drawn)
        # Four standard deviations of a share of 20,000 draws.
        np.testing.assert_allclose(share, expected / expected.sum(), atol=4 * 0.5 / np.sqrt(20_000))


def test_items_of_a_large_catalogue_are_drawn_by_their_probabilities():
    # More items than are looked at in one go, the last ones among them.
    scores = np.random.default_rng(0).normal(scale=2, size=300)
    scores[-3:] = 4
    rows = SequenceDataset.from_sequences([range(300)] + [[number % 300] for number in range(30_000)])
    model = TeacherRegenerator(
        FixedScores(scores=scores), n_items=1, temperature=1, exclude_history=False, random_state=0
    )
    drawn = added(model.fit_transform(rows)).items[301::1][1::2]
    expected = np.exp(scores) / np.exp(scores).sum()
    share = np.bincount(drawn - 1, minlength=300) / len(drawn)
    deviation = np.sqrt(expected * (1 - expected) / len(drawn))
    assert (np.abs(share - expected) < 5 * deviation + 1 / len(drawn)).all()


def test_history_is_never_drawn_unless_asked():
    rows = SequenceDataset.from_sequences([["a", "b"], ["c"]])
    certain = FixedScores(scores=[50.0, 0.0, -50.0])
    kept_out, allowed = (
        TeacherRegenerator(certain, n_items=2, exclude_history=exclude, random_state=0).fit_transform(rows).to_lists()
        for exclude in (True, False)
    )
    # Once a row holds all items, nothing is left to draw.
    assert kept_out[2:] == [["a", "b", "c"], ["c", "a", "b"]]
    assert allowed[2:] == [["a", "b", "a", "a"], ["c", "a", "a"]]


@pytest.mark.parametrize("temperature", [1e-6, 1e-46, np.nextafter(0.0, 1.0)])
def test_near_zero_temperature_draws_are_what_predict_says(sasrec, sequences, temperature):
    greedy = taught(sasrec, temperature=temperature, n_items=2).fit(sequences)
    rows = sequences
    for _ in range(2):
        best = greedy.teacher_.predict(rows, k=1)[:, 0]
        rows = SequenceDataset.from_sequences(
            [[*row, item] for row, item in zip(rows.to_lists(), best.tolist(), strict=True)],
            vocabulary=sequences.vocabulary,
        )
    assert added(greedy.transform(sequences)).to_lists() == rows.to_lists()


def test_what_is_held_out_is_neither_read_nor_drawn(sasrec, sequences):
    rows = [[*row, 101, 102] for row in sequences.to_lists()]
    X, _ = leave_one_out(SequenceDataset.from_sequences(rows), validation=True)
    held_out = np.flatnonzero(np.isin(X.vocabulary, [101, 102])) + 1
    assert np.isin(X.validation, held_out).all()
    result = taught(sasrec, n_items=8).fit_transform(X)
    assert not np.isin(result.items, held_out).any()
    others = np.random.default_rng(0).integers(1, X.n_items + 1, len(X))
    assert taught(sasrec, n_items=8).fit_transform(X.replace(validation=others)).items.tolist() == result.items.tolist()
    teacher = taught(FixedScores(scores=np.zeros(X.n_items))).fit(PatternMiner(window=3).fit_transform(X)).teacher_
    assert teacher.rows_.to_lists() == X.to_lists()
    assert teacher.rows_.validation is None


def test_one_seed_gives_one_result(sasrec, sequences):
    first, again, other = (
        taught(sasrec, random_state=seed).fit_transform(sequences).items.tolist() for seed in (0, 0, 1)
    )
    assert first == again != other


def test_unseen_and_empty_rows(sasrec, sequences):
    model = taught(sasrec).fit(sequences)
    with pytest.warns(UserWarning, match="not seen"):
        result = model.transform([[], [3, 999], [4]])
    assert result.source.tolist()[3:] == [1, 2]
    assert [len(row) for row in result.to_lists()] == [0, 1, 1, 4, 4]


def test_where_all_rows_are_empty_nothing_is_added(sasrec, sequences):
    assert taught(sasrec).fit(sequences).transform([[], []]).to_lists() == [[], []]


def test_rows_that_hold_all_that_may_be_drawn_are_not_added_again(sasrec):
    model = taught(sasrec).fit([[1, 2, 3], [3, 2, 1], [1, 3, 2]])
    result = model.transform([[1, 2, 3], [1, 3], [2, 3, 1]])
    assert result.to_lists() == [[1, 2, 3], [1, 3], [2, 3, 1], [1, 3, 2]]
    assert result.source.tolist() == [-1, -1, -1, 1]
    assert result.weights.tolist()[:-1] == [1.0] * 8 + [0.0] * 2
    assert result.weights[-1] > 0


def test_columns_stay_with_the_rows_that_have_them(sasrec, sequences, tmp_path):
    times = np.arange(sequences.n_interactions, dtype=float)
    users = np.array([f"user {number}" for number in range(len(sequences))], dtype=object)
    given = sequences.replace(timestamps=times, users=users)
    result = taught(sasrec).fit_transform(given)
    np.testing.assert_array_equal(result.timestamps[: len(times)], times)
    assert np.isnan(result.timestamps[len(times) :]).all()
    assert result[: len(sequences)].replace(weights=None) == given
    result.to_parquet(tmp_path / "taught.parquet")
    assert SequenceDataset.read_parquet(tmp_path / "taught.parquet") == result


def test_the_default_teachers_learn_from_whole_rows(sequences, tmp_path):
    settings = {"n_items": 1, "random_state": 0, "checkpoint_dir": tmp_path, "device": "cpu"}
    model = TeacherRegenerator(**settings).fit(sequences)
    members = model.teacher_.recommenders_
    assert [(type(member), member.loss) for member in members] == [
        (SASRec, "sampled_softmax"),
        (FMLP, "sampled_softmax"),
    ]
    for member in members:
        # Trained once to find how long, and once more on the rows with their last items.
        assert len(member.refit_history_) == member.best_epoch_ + 1
        assert member.device == "cpu"
    again = TeacherRegenerator(**settings).fit(sequences)
    # What a checkpoint tells is not measured anew.
    assert [member.history_ for member in again.teacher_.recommenders_] == [member.history_ for member in members]
    np.testing.assert_array_equal(again.transform(sequences).items, model.transform(sequences).items)


def test_it_takes_its_place_in_scikit_learn(sasrec, sequences):
    X, y = leave_one_out(sequences, validation=True)
    model = taught(clone(sasrec)).fit(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).transform(X).items, model.transform(X).items)
    assert clone(model).set_params(teacher__max_epochs=1).teacher.max_epochs == 1
    pipeline = make_pipeline(PatternMiner(window=3, random_state=0), taught(sasrec), clone(sasrec)).fit(X, y)
    assert pipeline.predict(X, k=4).shape == (len(X), 4)
    assert 0 <= RegeneratedRecommender(taught(sasrec), clone(sasrec)).fit(sequences).score(X, y) <= 1


def test_what_was_drawn_can_be_weighed(sasrec, sequences):
    X, _ = leave_one_out(sequences, validation=True)
    rows = taught(sasrec).fit_transform(X)
    weighed = DatasetPersonalizer(clone(sasrec), warmup_epochs=1, update_every=1).fit_transform(rows)
    assert ((weighed.weights == 0) == (rows.weights == 0)).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_items", 0), ("n_copies", 1.5), ("temperature", 0), ("weight", -1), ("exclude_history", "no")],
)
def test_parameters_are_checked_by_name(sasrec, sequences, name, value):
    with pytest.raises(ValueError, match=f"TeacherRegenerator: {name} must be"):
        taught(sasrec, **{name: value}).fit(sequences)
    fitted = taught(sasrec).fit(sequences)
    with pytest.raises(ValueError, match=f"TeacherRegenerator: {name} must be"):
        fitted.set_params(**{name: value}).transform(sequences)


@pytest.mark.parametrize("teacher", [PatternMiner(), "SASRec", SASRec])
def test_what_cannot_teach_is_named(sequences, teacher):
    with pytest.raises(TypeError, match="TeacherRegenerator: teacher must be a recommender"):
        TeacherRegenerator(teacher).fit(sequences)


class Outsider(BaseEstimator):
    """A teacher of no base of this library, which keeps the table that it gives."""

    def __init__(self, n_rows_less=0, n_columns_more=0):
        self.n_rows_less = n_rows_less
        self.n_columns_more = n_columns_more

    def fit(self, X, y=None):
        self.table_ = np.tile(np.arange(X.n_items + self.n_columns_more), (len(X), 1))
        return self

    def score_blocks(self, X, block_rows):
        yield self.table_[: len(X) - self.n_rows_less]


def test_what_a_teacher_keeps_stays_as_it_is(sequences):
    model = TeacherRegenerator(Outsider(), n_items=2, temperature=1e-3, random_state=0).fit(sequences)
    before = model.teacher_.table_.copy()
    rows = model.transform(sequences)
    np.testing.assert_array_equal(model.teacher_.table_, before)
    assert model.transform(sequences) == rows
    assert (added(rows).lengths == sequences.lengths + 2).all()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"n_rows_less": 1}, r"scores of 39 rows; it was asked for those of 40"),
        ({"n_columns_more": 1}, r"scores of the shape \(40, 21\); needed: \(rows, 20\)"),
    ],
)
def test_scores_of_other_rows_or_items(sequences, wrong, told):
    model = TeacherRegenerator(Outsider(**wrong), random_state=0).fit(sequences)
    with pytest.raises(ValueError, match=told):
        model.transform(sequences)


def test_a_checkpoint_directory_that_no_fit_finds_again_is_told(sequences, tmp_path):
    model = TeacherRegenerator(Outsider(), checkpoint_dir=tmp_path)
    with pytest.warns(UserWarning, match="TeacherRegenerator: with random_state=None"):
        model.fit(sequences)
    with pytest.raises(ValueError, match="device"):
        TeacherRegenerator(Outsider(), device="gpu").fit(sequences)


def test_scores_that_are_no_numbers(sequences):
    model = TeacherRegenerator(FixedScores(scores=np.full(sequences.n_items, np.nan)), random_state=0).fit(sequences)
    with pytest.raises(ValueError, match="scores of some items are not numbers"):
        model.transform(sequences)


@pytest.mark.parametrize("rows", [[["a"], ["b"]], np.arange(4).reshape(4, 1)], ids=["lists", "array"])
def test_rows_of_one_item_teach_nothing(sasrec, rows):
    with pytest.raises(
        ValueError, match=r"TeacherRegenerator cannot learn from . sample.*at least one row of two items"
    ):
        taught(sasrec).fit(rows)


def test_a_frozen_teacher_is_taken_as_it_is(sequences):
    teacher = SASRec(embedding_dim=8, max_epochs=1, random_state=0).fit(sequences)
    regenerator = TeacherRegenerator(FrozenEstimator(teacher), n_items=2, random_state=0)
    rows = regenerator.fit_transform(sequences)
    assert len(rows) > len(sequences)
    assert regenerator.teacher_.estimator is teacher


@pytest.mark.filterwarnings("ignore::seqregen.inputs.UnseenItemsWarning")
def test_a_teacher_of_another_catalogue_is_read_by_its_labels():
    known = [["a", "b", "c"], ["b", "c", "d"], ["c", "d", "a"], ["d", "a", "b"]] * 20
    teacher = SASRec(embedding_dim=16, dropout=0.0, learning_rate=0.01, max_epochs=40, random_state=0).fit(known)
    regenerator = TeacherRegenerator(FrozenEstimator(teacher), n_items=1, temperature=1e-3, random_state=0)
    rows = regenerator.fit_transform([["b", "c"], ["c", "d"], ["b", "c", "d"], ["a", "e"]])
    assert rows[4:6].to_lists() == [["b", "c", "d"], ["c", "d", "a"]]
    # What the teacher has never seen is not drawn.
    assert "e" not in [row[-1] for row in rows[4:].to_lists()]


class Tastes(FixedScores):
    """Knows what every user likes: one item."""

    def _scores(self, histories):
        likes = {"a": 3, "b": 4}
        table = torch.zeros(len(histories), len(self.vocabulary_))
        for row, user in enumerate([] if histories.users is None else histories.users.tolist()):
            if user in likes:
                table[row, likes[user]] = 9.0
        return lambda start, stop: table[start:stop]


@pytest.fixture
def of_users() -> SequenceDataset:
    rows = SequenceDataset.from_sequences([[0, 1], [1, 2], [3, 4]])
    return rows.replace(users=np.array(["a", "b", "c"], dtype=object))


def test_a_teacher_knows_whose_row_it_continues(of_users):
    model = TeacherRegenerator(Tastes(), n_items=1, temperature=1e-3, n_copies=2, random_state=0).fit(of_users)
    drawn = [row[-1] for row in added(model.transform(of_users)).to_lists()]
    assert [drawn[place] for place in (0, 1, 3, 4)] == [3, 4, 3, 4]


def test_a_filter_knows_whose_row_it_judges(of_users):
    data = of_users.append(
        np.array([1, 4, 2, 4, 1, 5, 2, 5]), np.array([0, 2, 4, 6, 8]), Origin.REGENERATED, source=np.array([0, 1, 0, 1])
    )
    kept = RankFilter(Tastes(), highest_rank=1).fit(data).transform(data)
    assert added(kept).to_lists() == [[0, 3], [1, 4]]


def test_ranks_that_are_not_one_a_row(of_users):
    class Ranks(Tastes):
        def rank(self, X, y, exclude_history=True):
            return [1, 2, 3, 4, 5]

    data = of_users.append(np.array([1, 4, 2, 4]), np.array([0, 2, 4]), Origin.MINED)
    with pytest.raises(ValueError, match=r"Ranks.rank must give one rank for each of 2 rows; got the shape \(5,\)"):
        RankFilter(Ranks()).fit(data).transform(data)
