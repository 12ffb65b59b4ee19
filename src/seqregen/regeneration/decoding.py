"""Hybrid decoding of all rows and all memories at once, with cached keys and values (DR4SR, section 4.2.3)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import numpy as np
import torch
from joblib import Parallel, delayed, effective_n_jobs
from torch import Tensor
from tqdm.auto import tqdm

from ..mining.sampling import STEP, mix_bits
from ..nn import DecoderLayer, RaggedGroups, on_device
from ..nn.linear import linear
from ..ragged import offsets_from_lengths, take_positions
from .network import RegeneratorNetwork
from .pair_batches import SourceRows

__all__ = ["Decoded", "DecodingSettings", "decode"]

# Free steps score every item; this many scores are held at once (64 MiB).
_SCORES_AT_ONCE = 1 << 24
# Below this share of running decodings the finished ones leave the batch.
_FEWEST_RUNNING = 0.75
# Shards of each process: as many show how far they are, and let one that is slow leave work to the others.
_SHARDS_A_JOB = 4


@dataclass(frozen=True)
class DecodingSettings:
    """How to decode; see :class:`seqregen.DatasetRegenerator`."""

    generative_rate: float
    restrictive_prefix: int
    max_length: int
    seed: int
    rows_at_once: int = 256


@dataclass(frozen=True)
class Decoded:
    """Patterns decoded from rows.

    Attributes
    ----------
    items : int64 ndarray of shape (n_items,)
        Item codes of all patterns, one behind the other.
    offsets : int64 ndarray of shape (n_rows * K + 1,)
        Pattern ``row * K + k`` comes from memory ``k`` of ``row``.
    free_steps : int16 ndarray of shape (n_rows * K,)
        Steps of each decoding that were free over all items.
    """

    items: np.ndarray
    offsets: np.ndarray
    free_steps: np.ndarray

    def take(self, which: np.ndarray) -> Decoded:
        """Some of the patterns, by their numbers."""
        places, offsets = take_positions(self.offsets[which], np.diff(self.offsets)[which])
        return Decoded(self.items[places], offsets, self.free_steps[which])


def decode(
    network: RegeneratorNetwork,
    sources: SourceRows,
    settings: DecodingSettings,
    device: torch.device,
    *,
    n_jobs: int | None = None,
    verbose: bool = False,
) -> Decoded:
    """Decode every memory of every row greedily.

    In each step the next token is the best of those not emitted yet: among the source's own items and the end
    with probability 1 - gamma and in the first ``restrictive_prefix`` steps, else among all items that the network
    has seen and the end.

    Parameters
    ----------
    network : RegeneratorNetwork
        In evaluation mode.
    sources : SourceRows
        Rows without items decode to nothing.
    settings : DecodingSettings
    device : torch.device
    n_jobs : int, optional
        joblib processes that share the rows, on a CPU. Rows do not depend on one another.
    verbose : bool, default=False
        Show a progress bar.

    Returns
    -------
    Decoded
    """
    n_rows, n_memories = len(sources.lengths), network.settings.n_memories
    lengths = np.zeros(n_rows * n_memories, dtype=np.int64)
    free_steps = np.zeros(n_rows * n_memories, dtype=np.int16)
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    with tqdm(total=n_rows, desc="regenerating", disable=not verbose, leave=False) as bar:
        for rows, codes, counts, free in _decode_all(network, sources, settings, device, n_jobs):
            slots = (rows[:, None] * n_memories + np.arange(n_memories)).reshape(-1)
            lengths[slots], free_steps[slots] = counts, free
            parts.append((slots, codes))
            bar.update(len(rows))
    offsets = offsets_from_lengths(lengths)
    items = np.empty(offsets[-1], dtype=np.int64)
    for slots, codes in parts:
        items[take_positions(offsets[slots], lengths[slots])[0]] = codes
    return Decoded(items, offsets, free_steps)


# Numbers of some rows; item codes of their patterns, one behind the other; items and free steps of each pattern.
_DecodedChunk = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _decode_all(
    network: RegeneratorNetwork,
    sources: SourceRows,
    settings: DecodingSettings,
    device: torch.device,
    n_jobs: int | None,
) -> Iterator[_DecodedChunk]:
    """All chunks, in this process or in several."""
    chunks = list(_chunks(sources, settings.rows_at_once))
    n_jobs = min(effective_n_jobs(n_jobs), len(chunks)) if device.type == "cpu" else 1
    if n_jobs <= 1:
        for rows in chunks:
            yield _decode_chunk(network, sources, rows, settings, device)
        return
    n_shards = min(_SHARDS_A_JOB * n_jobs, len(chunks))
    with TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        # Written once and mapped by every process, rather than sent to each with every shard: it may be large.
        path = os.path.join(directory, "network.pt")
        torch.save(network, path)
        # Chunks are in the order of their lengths, which every shard gets its part of.
        shards = (delayed(_decode_shard)(path, sources, chunks[first::n_shards], settings) for first in range(n_shards))
        for shard in _parallel(n_jobs)(shards):
            yield from shard


def _parallel(n_jobs: int) -> Parallel:
    try:
        return Parallel(n_jobs=n_jobs, return_as="generator")
    except ValueError:
        # A backend that gives all results together, at the end.
        return Parallel(n_jobs=n_jobs)


def _decode_shard(
    path: str, sources: SourceRows, chunks: list[np.ndarray], settings: DecodingSettings
) -> list[_DecodedChunk]:
    network = torch.load(path, weights_only=False, mmap=True)
    return [_decode_chunk(network, sources, rows, settings, torch.device("cpu")) for rows in chunks]


@torch.no_grad()
def _decode_chunk(
    network: RegeneratorNetwork,
    sources: SourceRows,
    rows: np.ndarray,
    settings: DecodingSettings,
    device: torch.device,
) -> _DecodedChunk:
    chunk = _Chunk(network, sources, rows, settings.max_length, device)
    tokens, counts, free = chunk.run(_draw_free_steps(rows, network.settings.n_memories, settings))
    return rows, tokens[np.arange(tokens.shape[1]) < counts[:, None]] + 1, counts, free


def _chunks(sources: SourceRows, rows_at_once: int) -> Iterator[np.ndarray]:
    """Rows with items, in chunks of like lengths."""
    order = np.argsort(sources.lengths, kind="stable")
    order = order[sources.lengths[order] > 2]
    return (order[first : first + rows_at_once] for first in range(0, len(order), rows_at_once))


def _draw_free_steps(rows: np.ndarray, n_memories: int, settings: DecodingSettings) -> np.ndarray:
    """Which steps are free, bool (n_rows, K, max_length + 1).

    Each draw is a hash of the seed and of its own place (splitmix64), so that neither the batches nor the
    number of rows changes it, and none has to be kept.
    """
    n_steps = settings.max_length + 1
    place = (rows[:, None, None] * n_memories + np.arange(n_memories)[:, None]) * n_steps + np.arange(n_steps)
    seed = np.random.SeedSequence(settings.seed).generate_state(1, np.uint64)
    bits = mix_bits(place.astype(np.uint64) * STEP + seed)
    free = (bits >> np.uint64(11)) * 2.0**-53 < settings.generative_rate
    free[:, :, : settings.restrictive_prefix] = False
    return free


class _Chunk:
    """Decoding of some rows with all their memories; finished decodings leave the batch."""

    def __init__(
        self,
        network: RegeneratorNetwork,
        sources: SourceRows,
        rows: np.ndarray,
        max_length: int,
        device: torch.device,
    ) -> None:
        self.network, self.device, self.max_length = network, device, max_length
        lengths = sources.lengths[rows]
        places, offsets = take_positions(sources.offsets[rows], lengths)
        groups = RaggedGroups(lengths, [(0, len(rows))], device)
        self.n_rows, self.longest = len(rows), int(lengths.max())
        flat = on_device(sources.tokens[places], device)
        positions = on_device(np.arange(len(places)) - np.repeat(offsets[:-1], lengths), device)
        is_candidate = groups.pad(on_device(sources.is_candidate[places], device))[0]
        if groups.groups[0].is_real is not None:
            is_candidate = is_candidate & groups.groups[0].is_real
        self.is_real = groups.groups[0].is_real
        tokens = groups.pad(flat)[0]
        # The start is no candidate: it is emitted already.
        is_candidate = is_candidate & (tokens != network.settings.n_items)
        memory = self._encode(flat, positions, groups)
        memories = network.project(memory)
        n_memories = network.settings.n_memories
        self.keys_values = [self._memory_keys_values(layer, memories, groups) for layer in self._layers()]
        self.row = torch.arange(self.n_rows, device=device).repeat_interleave(n_memories)
        self.tokens = tokens[self.row]
        self.open = is_candidate[self.row]
        self.vectors = network.tokens.weight[tokens]
        # Whether all memories of all rows are in the batch, row by row.
        self.is_whole = True
        self.unsayable = torch.nonzero(~network.is_sayable)[:, 0]
        self.cache: list[Tensor | None] = [None] * len(self.keys_values)

    def _layers(self) -> list[DecoderLayer]:
        return list(self.network.decoder)  # type: ignore[arg-type]

    def _encode(self, tokens: Tensor, positions: Tensor, groups: RaggedGroups) -> Tensor:
        hidden = self.network.embed(tokens, positions)
        for layer in self.network.encoder:
            hidden = layer(hidden, groups, causal=self.network.settings.encoder_mask == "causal")
        return hidden

    def _memory_keys_values(self, layer: DecoderLayer, memories: Tensor, groups: RaggedGroups) -> Tensor:
        """Keys and values, (2, n_rows * K, heads, length, d / heads), of a layer's attention over the memories."""
        attention = layer.memory_attention
        projected = groups.pad(attention.project_memory(memories))[0]
        n_rows, length, n_memories, double = projected.shape
        width = double // 2 // attention.n_heads
        shaped = projected.view(n_rows, length, n_memories, 2, attention.n_heads, width)
        return shaped.permute(3, 0, 2, 4, 1, 5).reshape(2, n_rows * n_memories, attention.n_heads, length, width)

    def run(self, is_free: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Emitted tokens (n, max_length + 1), how many of them are items of the pattern, and free steps, each (n,)."""
        n = len(self.row)
        free = on_device(is_free.reshape(n, -1), self.device)
        emitted = torch.full((n, self.max_length + 1), -1, dtype=torch.int64, device=self.device)
        counts = torch.zeros(n, dtype=torch.int64, device=self.device)
        free_steps = torch.zeros(n, dtype=torch.int64, device=self.device)
        # Places that are decoded still. Finished ones stay in the batch until they are many: leaving is a copy of all.
        active = torch.arange(n, device=self.device)
        running = torch.ones(n, dtype=torch.bool, device=self.device)
        last = torch.full((n,), self.network.settings.n_items, device=self.device)
        for step in range(self.max_length + 1):
            hidden = self._hidden(last, step)
            chosen = self._restricted(hidden)
            roams = free[active, step] & running
            if roams.any():
                chosen[roams] = self._free(hidden[roams], emitted[active[roams], :step])
            free_steps[active] += roams
            emitted[active, step] = torch.where(running, chosen, emitted[active, step])
            running &= chosen != self.network.settings.n_items + 1
            counts[active] += running
            n_running = int(running.sum())
            if n_running == 0:
                break
            self.open &= self.tokens != chosen[:, None]
            last = chosen
            if n_running < _FEWEST_RUNNING * len(active):
                active, last = active[running], last[running]
                self._keep(running)
                running = running[running]
        # One that never ended is cut: its last item was said in place of the end.
        return emitted.cpu().numpy(), counts.clamp(max=self.max_length).cpu().numpy(), free_steps.cpu().numpy()

    def _keep(self, kept: Tensor) -> None:
        self.is_whole = False
        self.row, self.tokens, self.open = self.row[kept], self.tokens[kept], self.open[kept]
        self.keys_values = [pair[:, kept] for pair in self.keys_values]
        self.cache = [None if pair is None else pair[:, kept] for pair in self.cache]

    def _hidden(self, last: Tensor, step: int) -> Tensor:
        hidden = self.network.embed(last, torch.full_like(last, step))
        for number, layer in enumerate(self._layers()):
            attention = layer.attention
            width = hidden.shape[1]
            projected = linear(hidden, attention.in_proj_weight, attention.in_proj_bias)
            shaped = projected.view(len(hidden), 3, attention.n_heads, 1, -1).transpose(0, 1)
            cached = self.cache[number]
            pair = shaped[1:] if cached is None else torch.cat([cached, shaped[1:]], dim=3)
            self.cache[number] = pair
            mixed = _attend(shaped[0], pair[0], pair[1], None).reshape(len(hidden), width)
            hidden = layer.attention_norm(hidden + attention.out_proj(mixed))
            looked_up = self._look_at_memory(layer, hidden, self.keys_values[number])
            hidden = layer.memory_norm(hidden + looked_up)
            hidden = layer.feed_forward_norm(hidden + layer.feed_forward(hidden))
        return hidden

    def _look_at_memory(self, layer: DecoderLayer, hidden: Tensor, pair: Tensor) -> Tensor:
        attention = layer.memory_attention
        queries = attention.project_queries(hidden).view(len(hidden), attention.n_heads, 1, -1)
        is_real = None if self.is_real is None else self.is_real[self.row][:, None, None, :]
        mixed = _attend(queries, pair[0], pair[1], is_real)
        return attention.out_proj(mixed.reshape(hidden.shape))

    def _restricted(self, hidden: Tensor) -> Tensor:
        """The best open token of each source."""
        if self.is_whole:
            by_row = hidden.view(self.n_rows, -1, hidden.shape[1]).transpose(1, 2)
            scores = torch.bmm(self.vectors, by_row).transpose(1, 2).reshape(len(hidden), -1)
        else:
            scores = torch.bmm(self.vectors[self.row], hidden[:, :, None])[:, :, 0]
        best = scores.masked_fill_(~self.open, -torch.inf).argmax(1)
        return self.tokens.gather(1, best[:, None])[:, 0]

    def _free(self, hidden: Tensor, emitted: Tensor) -> Tensor:
        """The best of all tokens that were not emitted."""
        table = self.network.tokens.weight
        chosen = []
        at_once = max(1, _SCORES_AT_ONCE // len(table))
        for states, said in zip(hidden.split(at_once), emitted.split(at_once), strict=True):
            scores = states @ table.T
            scores[:, self.unsayable] = -torch.inf
            scores.scatter_(1, said, -torch.inf)
            chosen.append(scores.argmax(1))
        return torch.cat(chosen)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, is_real: Tensor | None) -> Tensor:
    """Attention of one query a head, (n, heads, 1, d / heads), over cached keys and values."""
    scores = (queries @ keys.transpose(-2, -1)) * queries.shape[-1] ** -0.5
    if is_real is not None:
        scores = scores.masked_fill(~is_real, -torch.inf)
    return torch.softmax(scores, dim=-1) @ values
