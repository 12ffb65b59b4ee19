"""Finding the item vectors of a module that somebody else wrote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from typing import Any

from torch import Tensor, nn

__all__ = ["ItemTable", "find_item_table", "watch_lookups"]


@dataclass(frozen=True)
class ItemTable:
    """Where a module keeps its item vectors.

    Attributes
    ----------
    path : str
        Dotted path of an embedding, a tensor or a method.
    first : int
        Row of item code 1: 1 where the row before it is the padding's.
    n_items : int
    """

    path: str
    first: int
    n_items: int

    def read(self, module: nn.Module) -> Tensor:
        """Vectors, (n_items, d), of the codes 1, 2, ..."""
        return _all_rows(module, self.path)[self.first : self.first + self.n_items]

    def check_lookups(self, module: nn.Module, looked_up: set[int]) -> None:
        """Refuse a table in which rows were looked up, but not that of the largest code, which was in the batch.

        Raises
        ------
        ValueError
            It is the table of something else, such as positions, that has as many rows as there are items.
        """
        if looked_up and self.first + self.n_items - 1 not in looked_up:
            raise ValueError(
                f"{_name(module)} has one embedding of as many rows as the {self.n_items} items need, {self.path!r}, "
                "but does not look items up in it. Name their table: item_table='path.of.embedding'; its embeddings "
                f"are {_listed(_embeddings(module))}."
            )


@contextmanager
def watch_lookups(module: nn.Module, table: ItemTable) -> Iterator[set[int]]:
    """Inside, the rows that the module looks up in the embedding of its item vectors are collected."""
    looked_up: set[int] = set()
    embedding = _attribute(module, table.path)
    if not isinstance(embedding, nn.Embedding):
        yield looked_up
        return

    def collect(_: nn.Module, rows: tuple, named: dict[str, Tensor]) -> None:
        looked_up.update(*(part.unique().tolist() for part in (*rows, *named.values())))

    hook = embedding.register_forward_pre_hook(collect, with_kwargs=True)
    try:
        yield looked_up
    finally:
        hook.remove()


def find_item_table(module: nn.Module, n_items: int, path: str | None = None) -> ItemTable:
    """Find the item vectors of a module.

    Parameters
    ----------
    module : nn.Module
    n_items : int
        Size V of the vocabulary.
    path : str, optional
        Dotted path of an embedding ("encoder.items"), of a tensor ("head.weight") or of a method without
        arguments that returns one. It has V rows, or more: then row 0 is the padding's and rows behind V are left
        alone. By default the one embedding with V or V + 1 rows.

    Returns
    -------
    ItemTable

    Raises
    ------
    ValueError
        No embedding fits, or several do, or the path leads to something else. The message lists the embeddings.
    """
    path = _search(module, n_items) if path is None else path
    table = _all_rows(module, path)
    if table.ndim != 2 or len(table) < n_items:
        raise ValueError(
            f"item_table={path!r} of {_name(module)} has the shape {tuple(table.shape)}; needed: one row for each of "
            f"the {n_items} items, ({n_items}, d), or ({n_items + 1}, d) where row 0 is the padding's."
        )
    return ItemTable(path, int(len(table) > n_items), n_items)


def _search(module: nn.Module, n_items: int) -> str:
    found = _embeddings(module)
    fitting = {path: part for path, part in found.items() if part.num_embeddings in (n_items, n_items + 1)}
    if len({id(part.weight) for part in fitting.values()}) == 1:
        return next(iter(fitting))
    if fitting:
        raise ValueError(
            f"{_name(module)} has {len(fitting)} embeddings that could be the table of the {n_items} items: "
            f"{_listed(fitting)}. Name the right one: item_table={next(iter(fitting))!r}."
        )
    raise ValueError(
        f"{_name(module)} has no embedding of the {n_items} items: one with {n_items + 1} rows (row 0 for the padding) "
        f"or with {n_items} rows is needed, and there {'are ' + _listed(found) if found else 'is none at all'}. "
        "Make it from the keyword n_items, or say where it is: item_table='path.of.embedding' or the name of a method. "
        "Rows of a table that was made before must follow the vocabulary of the data: "
        "SequenceDataset.from_sequences(rows, vocabulary=labels) fixes its order."
    )


def _embeddings(module: nn.Module) -> dict[str, nn.Embedding]:
    return {path: part for path, part in module.named_modules() if isinstance(part, nn.Embedding)}


def _listed(embeddings: dict[str, nn.Embedding]) -> str:
    shapes = (f"{path or 'itself'} {tuple(part.weight.shape)}" for path, part in embeddings.items())
    return ", ".join(shapes)


def _all_rows(module: nn.Module, path: str) -> Tensor:
    found = _attribute(module, path)
    if isinstance(found, nn.Embedding):
        return found.weight
    if callable(found) and not isinstance(found, nn.Module):
        found = found()
    if not isinstance(found, Tensor):
        embeddings = _embeddings(module)
        raise ValueError(
            f"item_table={path!r} of {_name(module)} is a {type(found).__name__}; needed: the path of an embedding or "
            "of a tensor, or the name of a method without arguments that returns a tensor"
            f"{f' (its embeddings are {_listed(embeddings)})' if embeddings else ''}."
        )
    return found


def _attribute(module: nn.Module, path: str) -> Any:
    try:
        return reduce(getattr, path.split("."), module) if path else module
    except AttributeError:
        embeddings = _embeddings(module)
        raise ValueError(
            f"item_table={path!r}: {_name(module)} has no such part; its embeddings are "
            f"{_listed(embeddings) if embeddings else 'none'}."
        ) from None


def _name(module: nn.Module) -> str:
    return type(module).__name__
