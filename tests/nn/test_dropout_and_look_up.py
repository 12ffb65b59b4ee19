"""Cheap dropout masks, and looking up with and without accumulated gradients."""

from __future__ import annotations

import multiprocessing
import os
import threading

import numpy as np
import pytest
import torch
from torch import nn

from seqregen.nn import Dropout, EncoderLayer, RandomMasks, accumulating_gradients, look_up, seeded_torch, use_masks

CPU = torch.device("cpu")


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5, 0.9])
def test_masks_drop_at_the_rate_and_keep_the_mean(rate):
    mask = RandomMasks(0, CPU).draw(torch.empty(700, 301), rate)
    n = mask.numel()
    dropped = (mask == 0).double().mean().item()
    assert abs(dropped - rate) < 5 * (rate * (1 - rate) / n) ** 0.5
    assert mask.unique().numel() == 2
    assert mask.max().item() == pytest.approx(1 / (1 - rate), rel=1e-4)
    # Neighbours, and elements cut from one word, are independent.
    kept = (mask != 0).double().flatten()
    for distance in (1, 2, 3, 4):
        correlation = np.corrcoef(kept[:-distance], kept[distance:])[0, 1]
        assert abs(correlation) < 5 / n**0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_masks_have_the_shape_and_type_of_what_they_mask(dtype):
    mask = RandomMasks(0, CPU).draw(torch.empty(3, 1, 7, dtype=dtype), 0.5)
    assert mask.shape == (3, 1, 7)
    assert mask.dtype == dtype


def test_the_seed_decides_every_mask():
    like = torch.empty(50, 13)
    first, again, other = RandomMasks([1, 2], CPU), RandomMasks([1, 2], CPU), RandomMasks([1, 3], CPU)
    draws = [first.draw(like, 0.3) for _ in range(3)]
    assert all(torch.equal(mask, again.draw(like, 0.3)) for mask in draws)
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], other.draw(like, 0.3))


def test_a_rate_next_to_one_leaves_finite_values():
    assert torch.isfinite(RandomMasks(0, CPU).draw(torch.empty(1000), 1 - 1e-9)).all()


def test_dropout_works_in_training_alone():
    dropout, values = Dropout(0.5), torch.ones(2000)
    with pytest.raises(RuntimeError, match="use_masks"):
        dropout(values)
    assert Dropout(0.0)(values) is values
    use_masks(dropout, RandomMasks(0, CPU))
    assert set(dropout(values).unique().tolist()) == {0.0, 2.0}
    assert dropout.eval()(values) is values


def test_all_dropouts_of_a_network_share_the_masks():
    layer = EncoderLayer(8, 2, 8, 0.5)
    masks = RandomMasks(0, CPU)
    use_masks(layer, masks)
    dropouts = [module for module in layer.modules() if isinstance(module, Dropout)]
    assert len(dropouts) == 3
    assert all(dropout.masks is masks for dropout in dropouts)
    use_masks(layer, None)
    assert all(dropout.masks is None for dropout in dropouts)


def table_and_rows() -> tuple[nn.Parameter, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    table = nn.Parameter(torch.randn(9, 4, generator=generator, dtype=torch.float64))
    return table, torch.tensor([3, 3, 0, 8, 3, 1])


def test_accumulated_gradients_are_torchs():
    table, rows = table_and_rows()
    functional = nn.functional.embedding(rows, table)
    (functional.cos().sum() + (table @ table.T).sin().sum()).backward()
    expected = table.grad.clone()
    table.grad = torch.zeros_like(table)
    with accumulating_gradients():
        vectors = look_up(table, rows)
        # Looked up twice and used whole: all three ways add up.
        (vectors[:3].cos().sum() + look_up(table, rows)[3:].cos().sum() + (table @ table.T).sin().sum()).backward()
    assert torch.equal(vectors.detach(), table.detach()[rows])
    torch.testing.assert_close(table.grad, expected, rtol=1e-12, atol=1e-12)


def test_gradients_accumulate_over_batches():
    table, rows = table_and_rows()
    table.grad = torch.zeros_like(table)
    with accumulating_gradients():
        look_up(table, rows).sum().backward()
        look_up(table, rows).sum().backward()
    assert table.grad[:, 0].tolist() == [2, 2, 0, 6, 0, 0, 0, 0, 2]


def test_outside_nothing_changes():
    table, rows = table_and_rows()
    table.grad = torch.zeros_like(table)
    (gradient,) = torch.autograd.grad(look_up(table, rows).sum(), table)
    assert gradient[:, 0].tolist() == [1, 1, 0, 3, 0, 0, 0, 0, 1]
    assert not table.grad.any()
    assert torch.autograd.gradgradcheck(lambda values: look_up(values, rows).sin(), (table,))
    with accumulating_gradients(), pytest.raises(ZeroDivisionError):
        raise ZeroDivisionError
    (gradient,) = torch.autograd.grad(look_up(table, rows).sum(), table)
    assert gradient.any()


def test_without_a_gradient_to_add_to_torch_does_it():
    table, rows = table_and_rows()
    with accumulating_gradients():
        look_up(table, rows).sum().backward()
    assert table.grad[:, 0].tolist() == [1, 1, 0, 3, 0, 0, 0, 0, 1]


def test_threads_do_not_switch_it_for_one_another():
    table, rows = table_and_rows()
    table.grad = torch.zeros_like(table)
    gradients = []
    with accumulating_gradients():
        thread = threading.Thread(
            target=lambda: gradients.extend(torch.autograd.grad(look_up(table, rows).sum(), table))
        )
        thread.start()
        thread.join()
    assert gradients[0].any()
    assert not table.grad.any()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_need_not_wait_for_a_thread_that_it_has_not():
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with seeded_torch(0, CPU):
            inside.set()
            leave.wait()

    def enter():
        with seeded_torch(0, CPU):
            pass

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    child = multiprocessing.get_context("fork").Process(target=enter)
    child.start()
    child.join(timeout=60)
    leave.set()
    thread.join()
    code = child.exitcode
    child.kill()
    assert code == 0
