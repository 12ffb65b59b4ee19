"""The loss of a batch against the padded network, and the decoder against one row at a time without a cache."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import parallel_config
from plain_regenerator import CPU, END, N_ITEMS, START, PlainRegenerator, make_network

from seqregen.nn import RandomMasks, use_masks
from seqregen.pairs import PatternPairs
from seqregen.regeneration.decoding import DecodingSettings, _draw_free_steps, decode
from seqregen.regeneration.gate import gate_mixture, gate_use
from seqregen.regeneration.pair_batches import PairTable, source_rows

# Items come twice in some rows, and one row has nothing but one item; the last two share a pattern.
ROWS = [[1, 2, 1, 3, 1], [4], [5, 6, 7, 8, 9, 1, 2], [2, 2], [3, 4, 5], [9, 4, 3, 5]]
PATTERNS = [[1, 1], [2, 1], [6, 8, 9], [5, 2], [2, 2], [3, 5]]
PAIRS = [[0, 1], [], [2, 3], [4], [5], [5]]


def table_of(rows, patterns, pairs, longest: int = 12) -> PairTable:
    return PairTable(sources_of(rows, longest), pairs_of(patterns, pairs), N_ITEMS)


def sources_of(rows, longest: int = 12):
    items = np.array([code for row in rows for code in row], dtype=np.int64)
    return source_rows(items, np.cumsum([0, *map(len, rows)]), N_ITEMS, longest)


def pairs_of(patterns, pairs) -> PatternPairs:
    return PatternPairs(
        np.cumsum([0, *map(len, pairs)]),
        np.array([number for row in pairs for number in row], dtype=np.int64),
        np.array([code for pattern in patterns for code in pattern], dtype=np.int64),
        np.cumsum([0, *map(len, patterns)]),
    )


@pytest.mark.parametrize("candidates", ["source", "all"])
@pytest.mark.parametrize("encoder_mask", ["bidirectional", "causal", "published"])
@pytest.mark.parametrize("gate", ["softmax", "gumbel"])
def test_the_loss_is_that_of_the_padded_network(candidates, encoder_mask, gate):
    network = make_network(1, candidates=candidates, encoder_mask=encoder_mask, gate=gate, gate_temperature=0.8).train()
    plain = PlainRegenerator(network)
    table = table_of(ROWS, PATTERNS, PAIRS)
    assert len(table) == 7
    lines = [(row, pattern) for row, numbers in zip(ROWS, PAIRS, strict=True) for pattern in numbers]
    lines.sort(key=lambda line: len(line[0]))
    loss = network.loss(table.batch(np.arange(7), CPU), np.random.default_rng(5))
    noise = np.zeros((7, 3))
    if gate == "gumbel":
        noise = np.random.default_rng(5).gumbel(size=(7, 3)).astype(np.float32)
    expected = plain.loss(
        [row for row, _ in lines], [PATTERNS[number] for _, number in lines], torch.from_numpy(noise), 0.8
    )
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-9)
    loss.backward()
    expected.backward()
    for ours, theirs in (
        (network.tokens.weight, plain.tokens.weight),
        (network.positions.weight, plain.positions.weight),
        (network.gate[0].weight, plain.gate[0].weight),
        (network.memories[2].bias, plain.memories[2].bias),
        (network.encoder[0].attention.in_proj_weight, plain.encoder[0].self_attn.in_proj_weight),
        (network.promoter[1].feed_forward.expand.weight, plain.promoter[1].linear1.weight),
        (network.decoder[0].memory_attention.in_proj_weight, plain.decoder[0].multihead_attn.in_proj_weight),
        (network.decoder[1].feed_forward_norm.weight, plain.decoder[1].norm3.weight),
    ):
        assert theirs.grad.abs().max() > 0
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-8)


def test_a_pair_alone_has_the_loss_it_has_among_others():
    network = make_network(2, gate_balance_weight=0.0, gate_entropy_weight=0.0, gate_temperature_decay=1.0).train()
    table = table_of(ROWS, PATTERNS, PAIRS)
    n_tokens = [len(PATTERNS[number]) + 1 for numbers in PAIRS for number in numbers]

    def loss(*pairs: int) -> float:
        return network.loss(table.batch(np.array(pairs), CPU), np.random.default_rng(0)).item()

    assert loss(*range(7)) == pytest.approx(np.average([loss(pair) for pair in range(7)], weights=n_tokens), rel=1e-10)


def test_the_temperature_falls_with_every_step_to_the_floor():
    network = make_network(0, gate_temperature=2.0, gate_temperature_decay=0.5, gate_temperature_floor=0.3).train()
    batch = table_of(ROWS, PATTERNS, PAIRS).batch(np.arange(3), CPU)
    seen = []
    for _ in range(5):
        seen.append(network.temperature.item())
        network.loss(batch, np.random.default_rng(0))
    assert seen == [2.0, 1.0, 0.5, 0.3, 0.3]
    assert "n_forward" in network.state_dict()


def test_gate_use_is_the_mean_over_pairs():
    network = make_network(3).eval()
    table = table_of(ROWS, PATTERNS, PAIRS)
    mixture = gate_mixture(network, table.batch(np.arange(7), CPU))
    use, disorder = gate_use(network, table, 3, CPU)
    np.testing.assert_allclose(use, mixture.mean(0).numpy(), rtol=1e-10)
    assert disorder == pytest.approx(float(-(mixture * mixture.log()).sum(1).mean()), rel=1e-9)
    assert use.sum() == pytest.approx(1)


@pytest.mark.parametrize("by", ["pair", "source"])
def test_every_pair_once_an_epoch(by):
    rows = [[1 + row % 9, 1 + (row + 1) % 9, 1 + (row + 2) % 9] for row in range(30)]
    patterns = [[code, code % 9 + 1] for code in range(1, 10)]
    pairs = [[row % 9, (row + 1) % 9] for row in range(30)]
    table = table_of(rows, patterns, pairs)
    assert len(table) == 60
    seen, sizes = [], []
    for batch in table.shuffled(8, np.random.default_rng(0), CPU, by):
        bounds = batch.target_offsets.tolist()
        sources = batch.row_tokens[batch.source].view(-1, 5)[:, 1:-1] + 1
        targets = [batch.target_tokens[a:b].tolist() for a, b in pairwise(bounds)]
        assert all(target[0] == START and target[-1] == END for target in targets)
        seen += [(tuple(s), tuple(t[1:-1])) for s, t in zip(sources.tolist(), targets, strict=True)]
        sizes.append(len(batch.row_tokens) // 5)
    expected = [(tuple(rows[r]), tuple(code - 1 for code in patterns[p])) for r in range(30) for p in pairs[r]]
    assert sorted(seen) == sorted(expected)
    # By source a batch of 8 pairs needs 4 sources, or 5 where one is cut; by pair nearly one for each.
    assert max(sizes) <= 5 if by == "source" else np.mean(sizes[:-1]) > 6


def test_pairs_whose_pattern_is_not_in_the_part_that_is_read_are_left_out():
    rows = [[1, 2, 3, 4, 5, 6], [1, 2, 1, 2, 1, 2]]
    patterns = [[1, 2], [5, 6], [2, 5], [1, 2, 1, 2, 1]]
    table = table_of(rows, patterns, [[0, 1, 2], [0, 3]], longest=3)
    assert table.rows.tolist() == [0, 1]
    assert table.tokens.tolist() == [START, 4, 5, END, START, 0, 1, END]
    assert len(table_of(rows, patterns, [[0], []], longest=3)) == 0
    assert len(table_of(rows, patterns, [[], []])) == 0


def test_source_rows():
    sources = sources_of([[1, 2, 1], [], [5, 6, 7, 8]], longest=3)
    assert sources.tokens.tolist() == [START, 0, 1, 0, END, START, END, START, 5, 6, 7, END]
    assert sources.lengths.tolist() == [5, 2, 5]
    assert np.flatnonzero(~sources.is_candidate).tolist() == [3]


DECODED_ROWS = [[1, 2, 1, 3, 1], [4], [], [5, 6, 7, 8, 9, 1, 2], [2, 2], [3, 4, 5], [9, 4, 3, 5], [6, 1]]


@pytest.mark.parametrize("generative_rate", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("encoder_mask", ["bidirectional", "causal", "published"])
@pytest.mark.parametrize(("prefix", "max_length"), [(2, 5), (0, 9), (3, 2)])
def test_decoding_is_that_of_one_row_at_a_time_without_a_cache(generative_rate, encoder_mask, prefix, max_length):
    found = 0
    for seed in range(3):
        network = make_network(seed, encoder_mask=encoder_mask).eval()
        with torch.no_grad():
            # Ends come late enough that there is something to compare.
            network.tokens.weight[END] *= 0.3
        plain = PlainRegenerator(network)
        how = DecodingSettings(generative_rate, prefix, max_length, seed=seed)
        decoded = decode(network, sources_of(DECODED_ROWS), how, CPU)
        is_free = _draw_free_steps(np.arange(len(DECODED_ROWS)), 3, how)
        for row, codes in enumerate(DECODED_ROWS):
            for memory in range(3):
                number = 3 * row + memory
                start, stop = decoded.offsets[number : number + 2]
                expected = ([], 0)
                if codes:
                    expected = plain.decode_one(codes, memory, is_free[row, memory], max_length)
                assert (decoded.items[start:stop].tolist(), decoded.free_steps[number]) == expected
                found += stop - start
    assert found > 60


def test_which_steps_are_free():
    rows = np.arange(4000)
    how = DecodingSettings(0.3, 2, 7, seed=11)
    free = _draw_free_steps(rows, 3, how)
    assert free.shape == (4000, 3, 8)
    assert not free[:, :, :2].any()
    n = free[:, :, 2:].size
    assert abs(free[:, :, 2:].mean() - 0.3) < 5 * (0.21 / n) ** 0.5
    # Steps of one decoding, and decodings of one row, are independent.
    flat = free[:, :, 2:].astype(float)
    for first, second in ((flat[:, :, :-1], flat[:, :, 1:]), (flat[:, 0], flat[:, 1]), (flat[:-1], flat[1:])):
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02
    np.testing.assert_array_equal(free[[7, 3]], _draw_free_steps(np.array([7, 3]), 3, how))
    assert not np.array_equal(free, _draw_free_steps(rows, 3, DecodingSettings(0.3, 2, 7, seed=12)))
    assert not _draw_free_steps(rows, 3, DecodingSettings(0.0, 0, 7, seed=11)).any()
    assert _draw_free_steps(rows, 3, DecodingSettings(1.0, 0, 7, seed=11)).all()


@pytest.mark.parametrize("rows_at_once", [1, 3, 512])
def test_the_size_of_the_batches_changes_nothing(rows_at_once):
    network = make_network(4).eval()
    random = np.random.default_rng(0)
    rows = [random.integers(1, N_ITEMS + 1, random.integers(0, 11)).tolist() for _ in range(40)]
    expected = decode(network, sources_of(rows), DecodingSettings(0.4, 2, 6, 3), CPU)
    decoded = decode(network, sources_of(rows), DecodingSettings(0.4, 2, 6, 3, rows_at_once=rows_at_once), CPU)
    for name in ("items", "offsets", "free_steps"):
        np.testing.assert_array_equal(getattr(decoded, name), getattr(expected, name))


@pytest.mark.parametrize(("backend", "n_jobs"), [("loky", 2), ("threading", 64), ("multiprocessing", None)])
def test_the_number_of_jobs_changes_nothing(backend, n_jobs):
    network = make_network(4).eval()
    random = np.random.default_rng(0)
    rows = [random.integers(1, N_ITEMS + 1, random.integers(0, 11)).tolist() for _ in range(40)]
    how = DecodingSettings(0.4, 2, 6, 3, rows_at_once=3)
    expected = decode(network, sources_of(rows), how, CPU)
    with parallel_config(backend=backend):
        decoded = decode(network, sources_of(rows), how, CPU, n_jobs=n_jobs)
    for name in ("items", "offsets", "free_steps"):
        np.testing.assert_array_equal(getattr(decoded, name), getattr(expected, name))


@settings(max_examples=20, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(1, N_ITEMS), max_size=9), min_size=1, max_size=10),
    seed=st.integers(0, 50),
    generative_rate=st.sampled_from([0.0, 0.3, 1.0]),
    max_length=st.integers(2, 7),
)
def test_what_is_decoded_keeps_the_rules(rows, seed, generative_rate, max_length):
    decoded = decode(
        make_network(seed).eval(), sources_of(rows), DecodingSettings(generative_rate, 2, max_length, seed), CPU
    )
    assert len(decoded.offsets) == 3 * len(rows) + 1
    for number, free_steps in enumerate(decoded.free_steps):
        codes = decoded.items[decoded.offsets[number] : decoded.offsets[number + 1]].tolist()
        source = set(rows[number // 3])
        assert len(codes) <= max_length
        assert len(set(codes)) == len(codes)
        assert all(1 <= code <= N_ITEMS for code in codes)
        assert set(codes[:2]) <= source
        assert sum(code not in source for code in codes) <= free_steps
        if generative_rate == 0:
            assert set(codes) <= source
            assert free_steps == 0


def test_no_row_with_items_decodes_to_nothing():
    decoded = decode(make_network(0).eval(), sources_of([[], []]), DecodingSettings(0.1, 2, 5, 0), CPU)
    assert decoded.offsets.tolist() == [0] * 7
    assert decoded.items.tolist() == []


def test_dropout_draws_from_the_masks_of_training():
    network = make_network(5, dropout=0.5).train()
    batch = table_of(ROWS, PATTERNS, PAIRS).batch(np.arange(7), CPU)
    losses = []
    for seed in (0, 0, 1):
        use_masks(network, RandomMasks(seed, CPU))
        network.n_forward.zero_()
        losses.append(network.loss(batch, np.random.default_rng(0)).item())
    assert losses[0] == losses[1] != losses[2]


def test_dropout_falls_on_embeddings():
    network = make_network(0, dropout=0.5).train()
    use_masks(network, RandomMasks(0, CPU))
    tokens = torch.arange(5)
    whole = (network.tokens.weight[tokens] + network.positions.weight[tokens]).detach()
    shares = (network.embed(tokens, tokens).detach() / whole).round(decimals=3)
    assert set(shares.unique().tolist()) == {0.0, 2.0}
