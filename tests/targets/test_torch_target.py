"""TorchTarget: modules of the user's own as target models."""

from __future__ import annotations

import copy
import importlib
import pickle
import sys
import types
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from small_modules import BothWays, LeftPadded, Recurrent
from torch import nn

from seqregen import SequenceDataset
from seqregen.model_selection import LeaveLastOut, leave_one_out
from seqregen.targets import SASRec, TorchTarget
from seqregen.testing import check_target
from seqregen.training import loop
from seqregen.training.batches import history_batches
from seqregen.training.fingerprint import fingerprint

CPU = torch.device("cpu")
N_ITEMS = 24


def small(module=Recurrent, **changes) -> TorchTarget:
    settings = {"n_negatives": 5, "batch_size": 16, "max_epochs": 3, "max_length": 10, "random_state": 0}
    return TorchTarget(module, **(settings | changes))


MODELS = {
    "recurrent": small(),
    "left-padded": small(LeftPadded, padding="left"),
    "right-padded": small(LeftPadded),
    "both ways": small(BothWays, output="last"),
    "made": small(Recurrent(N_ITEMS)),
}


def a_batch(sequences, max_length=10):
    (batch,) = history_batches(sequences, max_length, 1000, CPU)
    return batch


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_modules_keep_their_promises(model):
    check_target(model, n_items=N_ITEMS)


def test_it_learns(sequences):
    X, y = leave_one_out(sequences)
    models = [small(max_epochs=n, learning_rate=0.01, loss="ce").fit(X) for n in (1, 30)]
    assert models[1].score(X, y) > models[0].score(X, y) + 0.1
    assert models[1].history_[-1]["loss"] < 0.9 * models[0].history_[0]["loss"]


@pytest.mark.parametrize("padding", ["right", "left"])
def test_the_module_sees_padded_rows(padding):
    seen = []

    class Watching(Recurrent):
        def forward(self, items):
            seen.append(items.clone())
            return super().forward(items)

    rows = [list(range(1, n + 1)) for n in (*range(1, 20), 40, 50)]
    network = small(Watching, padding=padding, max_length=45).fit(rows).network_
    seen.clear()
    network.states(a_batch(SequenceDataset.from_sequences(rows), 45))
    # Up to 8, 16, 32 and 64 items.
    assert [tuple(codes.shape) for codes in seen] == [(8, 8), (8, 16), (3, 19), (2, 45)]
    found = [row for codes in seen for row in codes.tolist()]
    for row, codes in zip(rows, found, strict=True):
        row = row[-45:]
        padded = [0] * (len(codes) - len(row))
        assert codes == (padded + row if padding == "left" else row + padded)


def test_states_are_those_of_the_module(sequences):
    network = small().fit(sequences).network_
    batch = a_batch(sequences)
    rows = np.split(batch.items.numpy(), np.cumsum(batch.lengths)[:-1])
    expected = torch.cat([network.module(torch.from_numpy(row)[None])[0] for row in rows])
    torch.testing.assert_close(network.states(batch), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(network.item_table(), network.module.items.weight[1:])


def test_a_last_state_is_computed_of_every_prefix(sequences):
    network = small(BothWays, output="last").fit(sequences).network_
    batch = a_batch(sequences)
    rows = np.split(batch.items.numpy(), np.cumsum(batch.lengths)[:-1])
    prefixes = [torch.from_numpy(row[: n + 1])[None] for row in rows for n in range(len(row))]
    expected = torch.cat([network.module(prefix) for prefix in prefixes])
    torch.testing.assert_close(network.states(batch), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(network.last_states(batch), expected[batch.last], rtol=1e-5, atol=1e-6)


def test_torchs_dropout_repeats_and_leaves_torch_alone(sequences):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second, other = (small(random_state=seed).fit(sequences).item_embeddings_ for seed in (0, 0, 1))
    assert torch.rand(1) == expected
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)
    torch.manual_seed(6)
    np.testing.assert_array_equal(small().fit(sequences).item_embeddings_, first)


def test_an_interrupted_fit_goes_on_to_the_same_end(sequences, tmp_path, monkeypatch):
    whole = small(max_epochs=4).fit(sequences)
    model = small(max_epochs=4, checkpoint_dir=tmp_path)
    model._plan = partial(saved_often, model._plan)
    epochs = []

    def count():
        epochs.append(len(epochs))
        if len(epochs) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "release_unused_memory", count)
    with pytest.raises(KeyboardInterrupt):
        model.fit(sequences)
    assert len(list(tmp_path.iterdir())) == 1
    resumed = small(max_epochs=4, checkpoint_dir=tmp_path).fit(sequences)
    assert len(epochs) == 4
    np.testing.assert_array_equal(resumed.item_embeddings_, whole.item_embeddings_)


def saved_often(plan, *arguments):
    return replace(plan(*arguments), checkpoint_seconds=0.0)


def test_runs_of_other_modules_do_not_share_checkpoints(sequences, tmp_path):
    made = Recurrent(N_ITEMS)
    other = copy.deepcopy(made)
    with torch.no_grad():
        other.items.weight[1:] += 1
    modules = [made, other, copy.deepcopy(made), Recurrent, partial(Recurrent, width=4), partial(Recurrent, width=6)]
    for module in modules:
        small(module, max_epochs=1, checkpoint_dir=tmp_path).fit(sequences)
    assert len(list(tmp_path.iterdir())) == len(modules) - 1


def with_dropout(rate):
    return lambda n_items: Recurrent(n_items, dropout=rate)


def made_with_dropout(rate):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Recurrent(N_ITEMS, dropout=rate)


class Started(Recurrent):
    def __init__(self, n_items, start):
        super().__init__(n_items, dropout=0.0)
        with torch.no_grad():
            self.items.weight.add_(torch.as_tensor(start[: self.items.weight.numel()]).view_as(self.items.weight))


def start(place):
    """Numbers whose difference ``str`` does not show."""
    return np.eye(1, 5000, place, dtype=np.float32)[0]


HIDDEN = types.SimpleNamespace(rate=0.0)


def hidden_dropout(rate):
    def make(n_items):
        return Recurrent(n_items, dropout=HIDDEN.rate)

    HIDDEN.rate = rate
    return make


@pytest.mark.parametrize(
    "make",
    [
        lambda second: small(with_dropout(0.5 if second else 0.0)),
        lambda second: small(hidden_dropout(0.5 if second else 0.0)),
        lambda second: small(made_with_dropout(0.5 if second else 0.0)),
        lambda second: small(Started, module__start=start(50 + second)),
        lambda second: small(Started, module__start=torch.from_numpy(start(50 + second))),
        lambda second: small(partial(Started, start=start(50 + second))),
    ],
)
def test_a_fit_never_gives_the_result_of_another(sequences, tmp_path, make):
    fits = [make(second).set_params(checkpoint_dir=tmp_path).fit(sequences) for second in (False, True)]
    assert len(list(tmp_path.iterdir())) == 2
    expected = make(True).fit(sequences).item_embeddings_
    np.testing.assert_array_equal(fits[1].item_embeddings_, expected)
    assert not np.array_equal(fits[0].item_embeddings_, expected)
    # And finds its own again.
    make(True).set_params(checkpoint_dir=tmp_path).fit(sequences)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_class_whose_text_has_changed_is_another(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    seen = []
    for number in range(2):
        (tmp_path / f"changing{number}.py").write_text(f"class Module:\n    width = {number}\n")
        module = importlib.import_module(f"changing{number}").Module
        module.__module__ = "changing"
        monkeypatch.setitem(sys.modules, "changing", importlib.import_module(f"changing{number}"))
        seen.append(fingerprint(module))
    assert seen[0] != seen[1]


class TestParameters:
    def test_module_parameters_stand_beside_the_others(self):
        model = small(module__width=4)
        assert model.get_params()["module__width"] == 4
        assert model.set_params(module__width=6, max_epochs=7) is model
        assert (model.get_params()["module__width"], model.max_epochs) == (6, 7)
        assert clone(model).get_params() == model.get_params()
        assert "module__width=6" in repr(model)
        assert "module__width" not in small().get_params()
        assert pickle.loads(pickle.dumps(model)).get_params() == model.get_params()

    def test_they_reach_the_module(self, sequences):
        model = small(module__width=4).fit(sequences)
        assert model.item_embeddings_.shape == (N_ITEMS, 4)
        assert model.set_params(module__width=6).fit(sequences).item_embeddings_.shape == (N_ITEMS, 6)

    def test_a_search_varies_them(self, sequences):
        X, y = leave_one_out(sequences)
        search = GridSearchCV(small(max_epochs=1), {"module__width": [4, 6]}, cv=LeaveLastOut(), error_score="raise")
        search.fit(X, y)
        width = search.best_params_["module__width"]
        assert search.best_estimator_.item_embeddings_.shape == (N_ITEMS, width)

    def test_a_function_makes_a_module(self, sequences):
        model = small(lambda n_items, width=4: Recurrent(n_items, width=2 * width), module__width=3)
        assert model.fit(sequences).item_embeddings_.shape == (N_ITEMS, 6)
        assert small(partial(Recurrent, width=4)).fit(sequences).item_embeddings_.shape == (N_ITEMS, 4)

    def test_max_length_is_passed_on(self, sequences):
        assert small(LeftPadded, max_length=7).fit(sequences).network_.module.places.num_embeddings == 7

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (
                lambda: small(Recurrent, module__hidden=3),
                r"module__hidden: Recurrent has no such .* n_items, width",
            ),
            (lambda: small(Recurrent, module__n_items=3), "module__n_items is not yours to give"),
            (lambda: small(lambda: Recurrent(3)), "has no parameter n_items"),
            (lambda: small(lambda n_items, depth: Recurrent(n_items)), r"needs depth: give module__depth="),
            (lambda: small(Recurrent(N_ITEMS), module__width=3), "module__width cannot be given to a Recurrent"),
            (lambda: small(Recurrent, padding="middle"), "padding must be one of 'right', 'left'"),
            (lambda: small(Recurrent, output="all"), "output must be one of 'positions', 'last'"),
            (lambda: small(Recurrent, refit="no"), "TorchTarget: refit must be True or False; got 'no'"),
            (lambda: small(Recurrent, refit=1), "refit must be True or False; got 1"),
            (lambda: small(Recurrent, verbose="no"), "verbose must be True, False or an integer >= 0; got 'no'"),
            (lambda: small(Recurrent, item_table=3), "item_table must be None, or the path"),
        ],
    )
    def test_wrong_ones_are_refused(self, sequences, make, message):
        with pytest.raises(ValueError, match=message):
            make().fit(sequences)

    def test_flags_may_be_numpys_and_verbosity_a_number(self, sequences):
        model = small(refit=np.False_, verbose=0, max_epochs=1).fit(sequences)
        np.testing.assert_array_equal(model.encode(sequences), small(max_epochs=1).fit(sequences).encode(sequences))

    @pytest.mark.parametrize("exclude_history", ["no", None, 0])
    def test_what_is_no_flag_is_refused(self, sequences, exclude_history):
        model = small(max_epochs=1).fit(sequences)
        X, y = leave_one_out(sequences)
        with pytest.raises(ValueError, match="exclude_history must be True or False; got"):
            model.predict(X, exclude_history=exclude_history)
        with pytest.raises(ValueError, match="exclude_history must be True or False; got"):
            model.rank(X, y, exclude_history=exclude_history)

    @pytest.mark.parametrize(
        ("module", "message"),
        [("Recurrent", "must be a class derived from"), (lambda n_items: n_items, "must return a torch.nn.Module")],
    )
    def test_what_is_no_module_is_refused(self, sequences, module, message):
        with pytest.raises(TypeError, match=message):
            small(module).fit(sequences)

    def test_a_misspelt_parameter_is_refused(self):
        with pytest.raises(TypeError, match=r"no parameter 'width'; .* is given as module__width"):
            small(width=3)
        with pytest.raises(ValueError, match="Invalid parameter 'width'"):
            small().set_params(width=3)


def test_a_made_module_is_copied(sequences):
    module = Recurrent(N_ITEMS)
    before = copy.deepcopy(module.state_dict())
    model = small(module).fit(sequences)
    assert model.network_.module is not module
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    np.testing.assert_array_equal(model.fit(sequences).item_embeddings_, clone(model).fit(sequences).item_embeddings_)


class TwoTables(Recurrent):
    def __init__(self, n_items):
        super().__init__(n_items)
        self.users = nn.Embedding(n_items, 8)
        self.head = nn.Linear(8, n_items)
        self.masked = nn.Embedding(n_items + 2, 8)

    def vectors(self):
        return self.items.weight[1:] * 2

    def narrow(self):
        return self.items.weight[2:]


class Tied(Recurrent):
    def __init__(self, n_items):
        super().__init__(n_items)
        self.output = nn.Embedding(n_items + 1, 8)
        self.output.weight = self.items.weight


class NoTable(nn.Module):
    def __init__(self, n_items):
        super().__init__()
        self.days = nn.Embedding(7, 8)

    def forward(self, items):
        return self.days(items % 7)


class Positions(nn.Module):
    """A table of items with rows for padding and mask, and one of positions of any number."""

    def __init__(self, n_items, max_length):
        super().__init__()
        self.items = nn.Embedding(n_items + 2, 8)
        self.places = nn.Embedding(max_length, 8)

    def forward(self, items):
        return self.items(items) + self.places(input=torch.arange(items.shape[1]))


class TestItemTables:
    @pytest.mark.parametrize("max_length", [N_ITEMS, N_ITEMS + 1])
    def test_a_table_of_positions_is_none_of_items(self, sequences, max_length):
        with pytest.raises(ValueError, match=r"'places', but does not look items up in it.*items \(26, 8\), places"):
            small(Positions, max_length=max_length).fit(sequences)
        assert (
            small(Positions, max_length=max_length, item_table="items").fit(sequences).item_embeddings_.shape[0] == 24
        )

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("items", lambda module: module.items.weight[1:]),
            ("users", lambda module: module.users.weight),
            ("head.weight", lambda module: module.head.weight),
            ("vectors", lambda module: module.items.weight[1:] * 2),
            # Row 0 is the padding's, the row behind the items is something else's.
            ("masked", lambda module: module.masked.weight[1:-1]),
        ],
    )
    def test_it_is_where_the_path_says(self, sequences, path, expected):
        model = small(TwoTables, item_table=path).fit(sequences)
        np.testing.assert_array_equal(model.item_embeddings_, expected(model.network_.module).detach())

    def test_one_table_under_two_names_is_one(self, sequences):
        assert small(Tied).fit(sequences).item_embeddings_.shape == (N_ITEMS, 8)

    @pytest.mark.parametrize(
        ("model", "message"),
        [
            (small(TwoTables), r"2 embeddings that could be .* items \(25, 8\), users \(24, 8\)\. Name .*'items'"),
            (small(NoTable), r"no embedding of the 24 items: .* 25 rows .* there are days \(7, 8\)"),
            (small(Recurrent(30)), r"no embedding of the 24 items.* items \(31, 8\)"),
            (small(TwoTables, item_table="goods"), r"item_table='goods': TwoTables has no such part; .*users"),
            (small(TwoTables, item_table="head"), r"'head' of TwoTables is a Linear; needed: the path of an embedding"),
            (small(TwoTables, item_table="narrow"), r"has the shape \(23, 8\); needed: .*\(24, d\), or \(25, d\)"),
        ],
    )
    def test_no_table_or_a_wrong_one_is_refused(self, sequences, model, message):
        with pytest.raises(ValueError, match=message):
            model.fit(sequences)


class Returning(Recurrent):
    """Gives something else back than it should."""

    def __init__(self, n_items, change):
        super().__init__(n_items)
        self.change = change

    def forward(self, items):
        return self.change(super().forward(items))


class Backward(Recurrent):
    def forward(self, items):
        return super().forward(items.flip(1)).flip(1)


class Frozen(Recurrent):
    def __init__(self, n_items):
        super().__init__(n_items)
        self.requires_grad_(False)


class TestWrongModules:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                lambda states: states.transpose(0, 1)[:, :2],
                r"\(3, 3\) into \(3, 2, 8\); needed: \(n_rows, length, d\)",
            ),
            (lambda states: states[:, -1], r"into \(3, 8\).* use output='last'"),
            (lambda states: states[..., None], r"into \(3, 3, 8, 1\); needed: \(n_rows, length, d\)"),
            (lambda states: states[..., :5], r"states with 5 values and item vectors with 8"),
            (lambda states: states * torch.nan, "not finite before any training"),
            (lambda states: states.double(), r"states of torch\.float64 and item vectors of torch\.float32; needed"),
        ],
    )
    def test_a_wrong_shape_is_told(self, sequences, change, message):
        with pytest.raises(ValueError, match=message):
            small(Returning, module__change=change).fit(sequences)

    def test_a_table_of_positions_that_is_too_short_is_told(self, sequences):
        class Short(Recurrent):
            def __init__(self, n_items):
                super().__init__(n_items)
                self.places = nn.Embedding(4, 8)

            def forward(self, items):
                return super().forward(items) + self.places(torch.arange(items.shape[1]))

        with pytest.raises(
            ValueError, match=r"cannot read a row of \d+ items, with max_length=\d+: IndexError: .* lower max_len"
        ):
            small(Short, item_table="items").fit(sequences)

    def test_a_table_without_a_row_for_padding_is_told(self, sequences):
        message = r"Recurrent cannot read the item code 24 .* needs 25 rows; its table 'items' has 24 rows\. Make it"
        with pytest.raises(ValueError, match=message):
            small(Recurrent(N_ITEMS - 1)).fit(sequences)

    def test_an_index_that_is_wrong_for_another_reason_is_left_as_it_is(self, sequences):
        class Wrong(Recurrent):
            def forward(self, items):
                return super().forward(items)[[9, 9, 9]]

        with pytest.raises(IndexError, match="out of bounds"):
            small(Wrong).fit(sequences)

    def test_what_cannot_be_made_of_the_number_of_items_is_told(self, sequences):
        with pytest.raises(TypeError, match=r"cannot be made with n_items=24: .*module=lambda n_items"):
            small(nn.GRU).fit(sequences)

    def test_half_precision_is_refused(self, sequences):
        with pytest.raises(ValueError, match=r"states of torch\.bfloat16 .* needed: both float32"):
            small(lambda n_items: Recurrent(n_items).bfloat16()).fit(sequences)

    def test_exchanged_axes_are_told(self, sequences):
        model = small(Returning, max_length=2, module__change=lambda states: states.transpose(0, 1))
        with pytest.raises(ValueError, match=r"\(3, 2\) into \(2, 3, 8\).*use batch_first=True"):
            model.fit(sequences)

    def test_all_states_where_the_last_is_wanted_are_told(self, sequences):
        with pytest.raises(ValueError, match=r"needed: \(n_rows, d\), here \(3, d\)\. For .* output='positions'"):
            small(Recurrent, output="last").fit(sequences)

    def test_a_tuple_is_told(self, sequences):
        with pytest.raises(TypeError, match=r"returned a tuple; needed: one tensor .* take its first part"):
            small(Returning, module__change=lambda states: (states, None)).fit(sequences)

    def test_a_module_that_sees_the_future_is_refused(self, sequences):
        with pytest.raises(ValueError, match=r"Backward is not causal: .* Use a causal mask; .* output='last'"):
            small(Backward).fit(sequences)

    def test_a_module_with_nothing_to_train_is_refused(self, sequences):
        with pytest.raises(ValueError, match="no parameter with requires_grad=True"):
            small(Frozen).fit(sequences)

    def test_a_loss_that_is_no_number_stops(self, sequences):
        class Exploding(Recurrent):
            def forward(self, items):
                states = super().forward(items)
                return states * torch.inf if self.training else states

        with pytest.raises(FloatingPointError, match="became NaN or infinite in epoch 1, batch 1"):
            small(Exploding).fit(sequences)


def test_a_float64_module_works(sequences):
    model = small(lambda n_items: Recurrent(n_items).double()).fit(sequences)
    assert model.item_embeddings_.dtype == np.float64


def test_an_autocast_around_it_changes_nothing(sequences):
    outside = small(BothWays, output="last").fit(sequences)
    with torch.autocast("cpu", torch.bfloat16):
        inside = small(BothWays, output="last").fit(sequences)
        scores = inside.decision_function(sequences)
    assert np.array_equal(scores, outside.decision_function(sequences))


def test_it_ranks_like_the_librarys_own(tiny, sequences):
    """SASRec's network behind the adapter gives the adapter's answers."""
    fitted = tiny().fit(sequences)

    class Inner(nn.Module):
        def __init__(self, n_items):
            super().__init__()
            self.network = copy.deepcopy(fitted.network_)

        def forward(self, items):
            return self.network.padded_states(items)

    model = TorchTarget(Inner, max_length=6, max_epochs=1, learning_rate=1e-30, random_state=0).fit(sequences)
    assert isinstance(fitted, SASRec)
    np.testing.assert_allclose(
        model.decision_function(sequences), fitted.decision_function(sequences), rtol=1e-4, atol=1e-6
    )


def test_fits_in_threads_are_as_fits_alone(sequences):
    # First weights and dropout are drawn from generators that all threads share.
    models = [small(random_state=seed) for seed in range(6)]
    alone = [model.fit(sequences).history_ for model in models]
    beside = Parallel(n_jobs=6, backend="threading")(delayed(clone(model).fit)(sequences) for model in models)
    for before, model in zip(alone, beside, strict=True):
        assert [epoch["loss"] for epoch in model.history_] == [epoch["loss"] for epoch in before]
