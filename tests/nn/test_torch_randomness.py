"""torch's own generators: seeded for a while, and left as they were."""

from __future__ import annotations

import torch
from torch import nn

from seqregen.nn import RandomMasks, TorchRandomness, seeded_torch, use_masks

CPU = torch.device("cpu")


def test_a_seed_holds_inside_and_leaves_no_trace():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    draws = []
    for seed in (1, 1, 2):
        with seeded_torch(seed, CPU):
            draws.append(torch.rand(3))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_each_block_in_training_has_a_seed_of_its_own_from_the_masks():
    network = nn.ModuleList([TorchRandomness()])
    found = []
    for _ in range(2):
        use_masks(network, RandomMasks(3, CPU))
        blocks = []
        for _ in range(2):
            with network[0].seeded():
                blocks.append(torch.rand(4))
        found.append(torch.stack(blocks))
    assert torch.equal(*found)
    assert not torch.equal(*found[0])


def test_without_masks_or_training_torch_draws_as_ever():
    randomness = TorchRandomness()
    for prepare in (lambda: None, lambda: use_masks(randomness.eval(), RandomMasks(0, CPU))):
        prepare()
        torch.manual_seed(7)
        expected = torch.rand(3)
        torch.manual_seed(7)
        with randomness.seeded():
            assert torch.equal(torch.rand(3), expected)
