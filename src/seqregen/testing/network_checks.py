"""What is seen on a target's network alone: gradients, weights, and what a state must not depend on."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from ..nn import RandomMasks, use_masks
from ..sequences import SequenceDataset
from ..training import NextItemBatch
from .trial import ALL_ROWS, Trial

__all__ = ["check_gradients", "check_leaks", "check_row_mixing", "check_state", "check_weights"]

# Steps within which every parameter must be used once: a part may be drawn by lot.
_DRAWS = 20


def check_row_mixing(trial: Trial) -> str:
    if not trial.has_network:
        return "not seen from outside"
    changed_row = int(np.argmax(trial.data.lengths == 9))
    first, stop = trial.data.offsets[changed_row : changed_row + 2]
    other = _changed(trial.data, np.arange(first, stop))
    batches = trial.batch(trial.data), trial.batch(other)
    before, again, after = (_target_states(trial, batch) for batch in (batches[0], *batches))
    trial.assert_close(
        before, again,
        "training twice on one batch with the same seed gives two results; all randomness must come "
        "from torch's generators or from seqregen.nn.Dropout",
    )  # fmt: skip
    items, others = (batch.items.cpu().numpy() for batch in batches)
    starts = np.cumsum(batches[0].lengths) - batches[0].lengths
    same = ~np.logical_or.reduceat(items != others, starts)
    if len(before) != len(same):
        same = np.repeat(same, batches[0].lengths)
    trial.assert_close(
        before[same], after[same],
        "in training, states of a row change with the items of another row of the batch; replace "
        "what mixes rows, such as batch norm, by layer norm",
    )  # fmt: skip
    return "in training, rows of a batch do not touch"


def check_leaks(trial: Trial) -> str:
    if not trial.has_network:
        return "not seen from outside"
    data = trial.data
    batches = trial.batch(data), trial.batch(_changed(data, data.offsets[:-1] + data.lengths // 2))
    network = copy.deepcopy(trial.fitted.network_).eval()
    with torch.no_grad():
        in_use = [network.target_states(batch).cpu() for batch in batches]
    n_targets = len(_targets(batches[0]))
    assert len(in_use[0]) == n_targets, (
        f"{trial.name}: target_states gives {len(in_use[0])} states for {n_targets} targets; it must give one for each"
    )
    same = _same_histories(batches, n_targets)
    for where, (before, after) in (
        ("", in_use),
        ("in training, ", [_target_states(trial, batch) for batch in batches]),
    ):
        trial.assert_close(
            before[same], after[same],
            f"{where}a state that is trained on changes with the item it is to predict, or one behind it, so the model "
            "learns to copy; make it causal, or train it on prefixes",
        )  # fmt: skip
    return "no state sees its target"


def check_state(trial: Trial) -> str:
    if not trial.has_network:
        return "not seen from outside"
    batch, network = trial.batch(trial.data), trial.training_network()
    with torch.no_grad():
        for _ in range(_DRAWS):
            network.target_states(batch)
        network.load_state_dict(trial.fitted.network_.state_dict())
        use_masks(network, RandomMasks(0, trial.device))
        after = [network.target_states(batch).cpu(), network.eval().target_states(batch).cpu()]
        new = trial.training_network()
        before = [new.target_states(batch).cpu(), new.eval().target_states(batch).cpu()]
    for where, found, expected in zip(("in training", "in use"), after, before, strict=True):
        trial.assert_close(
            found, expected,
            f"{where}, states change with something that training changes and state_dict() lacks, so the best epoch "
            "and checkpoints lose it; make it a parameter, or a buffer with register_buffer",
        )  # fmt: skip
    return "state_dict() has all that training changes"


def check_gradients(trial: Trial) -> str:
    if not trial.has_network:
        return "not seen from outside"
    network = trial.training_network()
    batch = trial.batch(trial.data)
    added = trial.fitted._added_loss(trial.data, trial.device)
    learning = [(name, part) for name, part in network.named_parameters() if part.requires_grad]
    without = [name for name, _ in learning]
    for seed in range(_DRAWS):
        scores = network.target_states(batch) @ network.item_table().T
        loss = nn.functional.cross_entropy(scores, _targets(batch).to(scores.device) - 1)
        if added is not None:
            loss = loss + added(network, batch, np.random.default_rng(seed))
        loss.backward()
        without = [name for name, part in learning if part.grad is None or not part.grad.any()]
        if not without:
            break
    assert not without, (
        f"{trial.name}: no gradient reaches {', '.join(without)}; use them in forward, or set requires_grad=False, "
        "and do not detach or sample on the way"
    )
    wrong = [name for name, part in learning if part.grad is not None and not torch.isfinite(part.grad).all()]
    assert not wrong, f"{trial.name}: the gradient of {', '.join(wrong)} is NaN or infinite; is a row fully masked?"
    return f"{len(learning)} parameters get a gradient"


def check_weights(trial: Trial) -> str:
    if not trial.has_network:
        return "not seen from outside"
    random = np.random.default_rng(0)
    part = random.integers(0, 2, trial.data.n_interactions).astype(np.float32)
    none, first, second, all_, double = (
        _first_loss(trial, weights) for weights in (part * 0, part, 1 - part, part * 0 + 1, part * 0 + 2)
    )
    assert not np.isclose(none, all_, rtol=1e-3), (
        f"{trial.name}: the loss of the first step is {all_:.4g} with weights 1 and {none:.4g} with weights 0; "
        "weights of positions are ignored: multiply each target's loss by batch.weights"
    )
    for found, expected, what in (
        (double - none, 2 * (all_ - none), "weights 2 must count as every row twice"),
        (first + second - 2 * none, all_ - none, "weights of parts must add up"),
    ):
        assert np.isclose(found, expected, rtol=1e-3), (
            f"{trial.name}: {what}: the loss of the first step is {found:.6g}, not {expected:.6g}; sum the weighted "
            "losses of targets and divide by their number, not by their weights"
        )
    if trial.fitted._added_loss(trial.data, trial.device) is None:
        _assert_unmoved(trial, part * 0)
    return "the loss is linear in the weights"


def _first_loss(trial: Trial, weights: np.ndarray) -> float:
    model = trial.small(max_epochs=1, batch_size=ALL_ROWS, weight_decay=0.0)
    return model.fit(trial.data.replace(weights=weights)).history_[0]["loss"]


def _assert_unmoved(trial: Trial, weights: np.ndarray) -> None:
    data = trial.data.replace(weights=weights)
    networks = [trial.small(max_epochs=n, weight_decay=0.0).fit(data).network_ for n in (1, 3)]
    for (name, once), (_, thrice) in zip(*(network.named_parameters() for network in networks), strict=True):
        assert torch.equal(once, thrice), f"{trial.name}: {name} moves although all weights are 0"


def _changed(data: SequenceDataset, places: np.ndarray) -> SequenceDataset:
    """The same rows with other items at some places."""
    items = data.items.copy()
    items[places] = items[places] % data.n_items + 1
    return data.replace(items=items)


def _same_histories(batches: tuple[NextItemBatch, NextItemBatch], n_states: int) -> np.ndarray:
    """Which states of two batches of the same lengths have read the same items, bool (n_states,)."""
    lengths = batches[0].lengths
    starts = np.cumsum(lengths) - lengths
    differs = np.not_equal(*(batch.items.cpu().numpy() for batch in batches))
    if n_states == len(lengths):
        return ~np.logical_or.reduceat(differs, starts)
    n_differ = np.cumsum(differs)
    return n_differ == np.repeat(n_differ[starts] - differs[starts], lengths)


def _targets(batch: NextItemBatch) -> Tensor:
    assert batch.targets is not None, "_training_rows must give batches with targets"
    return batch.targets.cpu()


def _target_states(trial: Trial, batch: NextItemBatch) -> Tensor:
    with torch.no_grad():
        return trial.training_network().target_states(batch).cpu()
