"""The restated loops do what the specification says, on data small enough to check by hand."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

import seqregen

from .limits import next_item_lengths, training_epoch_flops
from .published import cl4srec, decoder, gnn, pair_search, regenerator, sasrec
from .published.weights import published_from

ROWS = [[1, 2, 3, 4], [3, 1, 2], [5, 4, 1, 2]]


def test_contains_allows_gaps_of_any_size_and_keeps_the_order():
    assert pair_search.contains([1, 9, 9, 9, 9, 9, 2], (1, 2))
    assert not pair_search.contains([2, 1], (1, 2))
    assert not pair_search.contains([1], (1, 1))


def test_pair_search_stops_at_ten_patterns_and_finds_what_brute_force_finds():
    patterns = [(first, second) for first in range(1, 6) for second in range(1, 6) if first != second]
    found = pair_search.search_pairs(ROWS, list(patterns), random.Random(0))
    expected = [(n, p) for n, row in enumerate(ROWS) for p in patterns if pair_search.contains(row, p)]
    assert sorted(found) == sorted(expected)
    long_row = list(range(1, 8))
    many = [(first, second) for first in long_row for second in long_row if first < second]
    assert len(pair_search.search_pairs([long_row], many, random.Random(0))) == 10


def test_pairs_are_padded_to_50_and_20_and_lost_patterns_left_out():
    long_row = [*range(1, 61)]
    source, target = regenerator.pad_pairs([long_row], [(0, (1, 60)), (0, (59, 60))], n_items=60)
    assert source.shape == (1, 50)
    assert target.shape == (1, 20)
    assert target[0, :5].tolist() == [61, 59, 60, 62, 0]
    assert source[0, [0, 1, -1]].tolist() == [61, 13, 62]


def test_regenerator_learns_and_padding_has_no_say():
    torch.manual_seed(0)
    network = regenerator.PublishedRegenerator(5, n_memories=2, width=8)
    pairs = regenerator.pad_pairs(ROWS, [(0, (1, 4)), (1, (1, 2)), (2, (4, 2))], 5)
    network.eval()
    with torch.no_grad():
        memory = network.encoder(
            network.embed(pairs[0]), mask=regenerator.causal_mask(50), src_key_padding_mask=pairs[0] == 0
        )
        short = network.encoder(network.embed(pairs[0][:1, :6]), mask=regenerator.causal_mask(6))
    torch.testing.assert_close(memory[:1, :6], short)
    network.train()
    before = float(network.loss(*pairs).detach())
    assert len(regenerator.train_steps(network, pairs, 30, batch_size=8)) == 30
    assert float(network.loss(*pairs).detach()) < before
    assert network.temperature == pytest.approx(0.995**33)


@pytest.mark.parametrize("generative_rate", [0.0, 1.0])
def test_decoder_repeats_nothing_and_keeps_to_the_source(generative_rate):
    torch.manual_seed(0)
    network = regenerator.PublishedRegenerator(40, n_memories=2, width=8).eval()
    with torch.no_grad():
        emitted = decoder.decode(network, ROWS[0], 1, random.Random(0), generative_rate=generative_rate, shortest=3)
    items = [token for token in emitted[1:] if token != network.end]
    assert len(items) >= 3
    assert len(set(items)) == len(items)
    assert 0 not in items
    assert set(items[:2]) <= set(ROWS[0])
    if generative_rate == 0:
        assert set(items) <= set(ROWS[0])


def test_sasrec_rows_lose_two_items_and_ranks_agree_with_a_sort():
    inputs, targets = sasrec.training_rows(ROWS)
    assert inputs[0, :2].tolist() == [1, 0]
    assert targets[0, :2].tolist() == [2, 0]
    torch.manual_seed(0)
    network = sasrec.PublishedSASRec(200)
    histories, expected = sasrec.held_out(ROWS)
    scores = sasrec.evaluate(network, histories, expected)
    with torch.no_grad():
        hidden = network(histories)
    gains = []
    for number, row in enumerate(ROWS):
        products = (network.embedding.weight @ hidden[number, len(row) - 2]).detach().numpy()
        candidates = [item for item in range(1, 201) if item not in row[:-1]]
        rank = sorted(candidates, key=lambda item: -products[item]).index(row[-1]) + 1
        gains.append(1 / math.log2(rank + 1) if rank <= 20 else 0.0)
    assert scores["ndcg@20"] == pytest.approx(np.mean(gains))


def test_both_graphs_spread_a_table_alike():
    rows = [[1, 2, 3, 4, 2, 5], [3, 1, 2, 2, 4], [5, 4, 1, 2]]
    data = seqregen.SequenceDataset.from_sequences([row[:-2] for row in rows], vocabulary=range(1, 6))
    inputs, targets = sasrec.training_rows(rows)
    network = gnn.PublishedGNN(inputs, 5, width=8)
    ours = seqregen.targets.GNN(embedding_dim=8)._make_network(data)
    with torch.no_grad():
        ours.items.weight.copy_(network.embedding.weight[1:])
        torch.testing.assert_close(network.spread()[1:], ours.input_table())
        # The padding is joined to itself alone: 0 stays 0.
        assert not network.spread()[0].any()
    before = network.embedding.weight.detach().clone()
    sasrec.train_steps(network, (inputs, targets), 2)
    assert not torch.equal(network.embedding.weight, before)


def test_published_views_have_the_promised_lengths():
    items = torch.tensor([[*range(1, 11)], [1, 2, 3, 4, 5, *[0] * 5]])
    network = cl4srec.PublishedCL4SRec(10, width=8)
    seen = set()
    for _ in range(30):
        view, lengths = network.view(items, torch.tensor([10, 5]))
        token = (view == 11).sum(1).tolist()
        seen.add((tuple(lengths.tolist()), tuple(token)))
    assert seen == {((2, 1), (0, 0)), ((10, 5), (7, 3)), ((10, 5), (0, 0))}
    value = network.loss(items, items)
    value.backward()
    assert math.isfinite(value.item())
    assert network.embedding.weight.grad[11].any()


def test_flops_of_one_token():
    assert training_epoch_flops(np.array([1])) == 3 * (2 * (65_536 + 256) + 256)
    assert next_item_lengths([[1] * 60, [1] * 5, [1] * 3]).tolist() == [47, 2]


def test_both_decoders_agree_with_the_same_weights():
    rows = [[1, 2, 3, 4], [3, 1, 2], [5, 4, 1, 2], [2, 3, 4, 5, 1], [4, 1, 2, 5]] * 3
    ours = seqregen.DatasetRegenerator(
        n_memories=3,
        item_embeddings=None,
        generative_rate=0.0,
        deduplicate=False,
        max_epochs=3,
        device="cpu",
        random_state=0,
    )
    made = ours.fit_transform(seqregen.PatternMiner(random_state=0).fit_transform(rows))
    regenerated = made[made.origin == seqregen.Origin.REGENERATED]
    sources = made.source[made.origin == seqregen.Origin.REGENERATED]
    assert len(regenerated) > 0
    network = published_from(ours.network_).eval()
    generator = random.Random(0)
    for items, row, memory in zip(regenerated, sources, regenerated.memory, strict=True):
        with torch.no_grad():
            emitted = decoder.decode(network, rows[row], int(memory), generator, generative_rate=0.0)
        assert [token for token in emitted[1:24] if token != network.end] == items.tolist()
