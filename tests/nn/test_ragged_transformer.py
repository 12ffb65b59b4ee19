"""Ragged attention and layers against torch's padded and masked ones, values and gradients."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from padded_twins import CPU, causal_mask, groups_of, pad, shake, twin_of_decoder, twin_of_encoder, unpad

from seqregen.nn import DecoderLayer, Dropout, EncoderLayer, RaggedGroups, attend, group_rows, initialize

WIDTH, HEADS, HIDDEN = 8, 2, 12
ragged_lengths = st.lists(st.integers(1, 9), min_size=1, max_size=12).map(lambda values: np.sort(np.array(values)))


def random_tokens(count: int, seed: int, width: int = WIDTH) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator, dtype=torch.float64, requires_grad=True)


def assert_same_gradients(module, twin_gradients, values):
    for (name, parameter), expected in zip(module, twin_gradients, strict=True):
        torch.testing.assert_close(
            parameter.grad, expected, rtol=1e-6, atol=1e-9, msg=lambda text, n=name: f"{n}: {text}"
        )
    for value, expected in values:
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("causal", [True, False])
@settings(max_examples=25, deadline=None)
@given(lengths=ragged_lengths, seed=st.integers(0, 1000), one_group=st.booleans())
def test_encoder_layer_is_torchs(causal, lengths, seed, one_group):
    layer = EncoderLayer(WIDTH, HEADS, HIDDEN, 0.0).double()
    shake(layer, seed)
    twin = twin_of_encoder(layer, HIDDEN)
    tokens = random_tokens(lengths.sum(), seed)
    again = tokens.detach().clone().requires_grad_()
    ours = layer(tokens, groups_of(lengths, [(0, len(lengths))] if one_group else None), causal=causal)
    padded, is_pad = pad(again, lengths)
    mask = causal_mask(padded.shape[1]) if causal else None
    theirs = unpad(twin(padded, src_mask=mask, src_key_padding_mask=is_pad), lengths)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    ours.sin().sum().backward()
    theirs.sin().sum().backward()
    expected = [
        twin.self_attn.in_proj_weight.grad,
        twin.self_attn.in_proj_bias.grad,
        twin.self_attn.out_proj.weight.grad,
        twin.self_attn.out_proj.bias.grad,
        twin.linear1.weight.grad,
        twin.linear1.bias.grad,
        twin.linear2.weight.grad,
        twin.linear2.bias.grad,
        twin.norm1.weight.grad,
        twin.norm1.bias.grad,
        twin.norm2.weight.grad,
        twin.norm2.bias.grad,
    ]
    assert_same_gradients(layer.named_parameters(), expected, [(tokens.grad, again.grad)])


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 7)), min_size=1, max_size=10),
    seed=st.integers(0, 1000),
    one_group=st.booleans(),
)
def test_decoder_layer_is_torchs(rows, seed, one_group):
    # Groups are made for the memory; the rows of the decoder then come in any order.
    memory_lengths, lengths = np.array(sorted(rows)).T
    bounds = [(0, len(rows))] if one_group else group_rows(memory_lengths)
    layer = DecoderLayer(WIDTH, HEADS, HIDDEN, 0.0).double()
    shake(layer, seed)
    twin = twin_of_decoder(layer, HIDDEN)
    tokens, memory = random_tokens(lengths.sum(), seed), random_tokens(memory_lengths.sum(), seed + 1)
    tokens_again, memory_again = (values.detach().clone().requires_grad_() for values in (tokens, memory))
    ours = layer(tokens, memory, groups_of(lengths, bounds), groups_of(memory_lengths, bounds))
    padded, is_pad = pad(tokens_again, lengths)
    padded_memory, memory_is_pad = pad(memory_again, memory_lengths)
    theirs = twin(
        padded,
        padded_memory,
        tgt_mask=causal_mask(padded.shape[1]),
        tgt_key_padding_mask=is_pad,
        memory_key_padding_mask=memory_is_pad,
    )
    theirs = unpad(theirs, lengths)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    ours.sin().sum().backward()
    theirs.sin().sum().backward()
    pairs = [(tokens.grad, tokens_again.grad), (memory.grad, memory_again.grad)]
    pairs += [
        (layer.memory_attention.in_proj_weight.grad, twin.multihead_attn.in_proj_weight.grad),
        (layer.memory_attention.out_proj.weight.grad, twin.multihead_attn.out_proj.weight.grad),
        (layer.attention.in_proj_weight.grad, twin.self_attn.in_proj_weight.grad),
        (layer.memory_norm.weight.grad, twin.norm2.weight.grad),
        (layer.feed_forward.expand.weight.grad, twin.linear1.weight.grad),
    ]
    for value, expected in pairs:
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-9)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=200))
def test_groups_are_a_partition_in_order(lengths):
    lengths = np.sort(np.array(lengths))
    bounds = group_rows(lengths)
    assert bounds[0][0] == 0
    assert bounds[-1][1] == len(lengths)
    assert all(first < last for first, last in bounds)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(bounds))


def test_groups_part_what_is_dear_to_pad_and_nothing_else():
    assert group_rows(np.full(500, 7)) == [(0, 500)]
    assert group_rows(np.array([1] * 400 + [50] * 400)) == [(0, 400), (400, 800)]
    assert group_rows(np.array([7, 8])) == [(0, 2)]


@given(ragged_lengths, st.integers(0, 100))
def test_padding_and_back(lengths, seed):
    tokens = random_tokens(lengths.sum(), seed).detach()
    groups = groups_of(lengths)
    padded = groups.pad(tokens)
    torch.testing.assert_close(groups.unpad(padded), tokens, rtol=0, atol=0)
    padded_rows = [row for part in padded for row in part]
    for row, expected in zip(padded_rows, tokens.split(lengths.tolist()), strict=True):
        assert torch.equal(row[: len(expected)], expected)


@pytest.mark.parametrize("causal", [True, False])
def test_mates_of_a_batch_change_nothing(causal):
    layer = EncoderLayer(WIDTH, HEADS, HIDDEN, 0.0).double()
    shake(layer, 3)
    lengths = np.array([1, 2, 2, 5, 9, 9])
    tokens = random_tokens(lengths.sum(), 4).detach()
    together = layer(tokens, groups_of(lengths), causal=causal)
    for row, (part, states) in enumerate(
        zip(tokens.split(lengths.tolist()), together.split(lengths.tolist()), strict=True)
    ):
        alone = layer(part, groups_of(lengths[row : row + 1]), causal=causal)
        torch.testing.assert_close(alone, states, rtol=1e-12, atol=1e-12)
    # Mates that are large, or not finite, stay behind the wall, too.
    spoilt = tokens.clone()
    spoilt[lengths[:-1].sum() :] = torch.inf
    states = layer(spoilt, groups_of(lengths, [(0, 6)]), causal=causal)
    torch.testing.assert_close(states[: lengths[:-1].sum()], together[: lengths[:-1].sum()], rtol=1e-12, atol=1e-12)


def test_a_causal_state_does_not_see_what_comes_later():
    layer = EncoderLayer(WIDTH, HEADS, HIDDEN, 0.0).double()
    shake(layer, 5)
    lengths = np.array([6])
    tokens = random_tokens(6, 6).detach()
    changed = tokens.clone()
    changed[4:] += 3
    before, after = (layer(values, groups_of(lengths), causal=True) for values in (tokens, changed))
    assert torch.equal(before[:4], after[:4])
    assert not torch.allclose(before[4:], after[4:])
    seen = layer(changed, groups_of(lengths), causal=False)
    assert not torch.allclose(seen[:4], layer(tokens, groups_of(lengths), causal=False)[:4])


@pytest.mark.parametrize("causal", [True, False])
def test_attention_can_be_differentiated_twice(causal):
    lengths = np.array([1, 2, 3])
    groups = groups_of(lengths, [(0, 3)])
    queries, keys_values = random_tokens(6, 0, 4), random_tokens(6, 1, 8)

    def mixed(queries, keys_values):
        return attend(
            queries,
            keys_values,
            n_heads=2,
            query_groups=groups,
            key_groups=groups,
            causal=causal,
            dropout=Dropout(0.0),
        )

    assert torch.autograd.gradcheck(mixed, (queries, keys_values))
    assert torch.autograd.gradgradcheck(mixed, (queries, keys_values))


def test_a_whole_layer_can_be_differentiated_twice():
    layer = EncoderLayer(4, 2, 4, 0.0).double()
    shake(layer, 7)
    groups = groups_of(np.array([1, 3]))
    tokens = random_tokens(4, 8, 4)
    assert torch.autograd.gradgradcheck(lambda values: layer(values, groups, causal=True), (tokens,))


def test_initial_weights_are_those_of_the_published_models():
    layer = DecoderLayer(64, 2, 256, 0.0)
    network = torch.nn.ModuleList([layer, torch.nn.Embedding(500, 64)])
    shake(network.float(), 9)
    for module in network.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.reset_parameters()
    initialize(network, torch.Generator().manual_seed(0))
    for weight in (layer.feed_forward.expand.weight, layer.attention.out_proj.weight, network[1].weight):
        assert abs(weight.std().item() - 0.02) < 0.001
        assert abs(weight.mean().item()) < 0.001
    bound = (6 / (64 + 3 * 64)) ** 0.5
    for attention in (layer.attention, layer.memory_attention):
        assert attention.in_proj_weight.abs().max() <= bound
        assert attention.in_proj_weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.03)
        assert not attention.in_proj_bias.any()
        assert not attention.out_proj.bias.any()
    again = DecoderLayer(64, 2, 256, 0.0)
    initialize(torch.nn.ModuleList([again, torch.nn.Embedding(500, 64)]), torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(layer.parameters(), again.parameters(), strict=True))


def test_rows_of_groups_need_not_be_sorted():
    lengths = np.array([3, 1, 2])
    groups = RaggedGroups(lengths, [(0, 2), (2, 3)], CPU)
    tokens = random_tokens(6, 10).detach()
    torch.testing.assert_close(groups.unpad(groups.pad(tokens)), tokens, rtol=0, atol=0)
    assert [tuple(part.shape) for part in groups.pad(tokens)] == [(2, 3, WIDTH), (1, 2, WIDTH)]
