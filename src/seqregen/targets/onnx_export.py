"""A trained recommender as one ONNX file that ranks without Python."""

from __future__ import annotations

import json
import logging
import os
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from ..files import write_aside
from ..formats.text import as_texts
from ..optional import require_package
from .network import NextItemNetwork

__all__ = ["OLDEST_TORCH", "OnnxExport", "export_onnx"]

# 2.6 and 2.7 fix sizes that are asked to stay open, or fail; 2.8, 2.11, 2.13 and 2.15 do not.
OLDEST_TORCH = "2.8"
# Files of this format hold at most 2 GiB; what is larger would need files beside it.
_MOST_BYTES = (1 << 31) - 1


class _Scoring(nn.Module):
    """From item codes to scores of all items.

    Codes of 0 are skipped wherever they stand, so rows may be padded on either side, and items that the
    vocabulary lacks may be passed as 0. The last ``max_length`` items are read. An empty row gets the items by
    popularity.
    """

    popularity: Tensor

    def __init__(self, network: NextItemNetwork, max_length: int, popularity: Tensor) -> None:
        super().__init__()
        self.network = network
        self.max_length = max_length
        self.register_buffer("popularity", popularity)

    def forward(self, items: Tensor) -> Tensor:
        real = items > 0
        rank = real.to(torch.int64).cumsum(1)
        lengths = rank[:, -1]
        place = rank - 1 - (lengths - self.max_length).clamp(min=0)[:, None]
        # What is not read goes behind the last place that is.
        place = torch.where(real & (place >= 0), place, self.max_length)
        window = items.new_zeros(items.shape[0], self.max_length + 1).scatter(1, place, items)[:, : self.max_length]
        states = self.network.padded_last_states(window, lengths.clamp(max=self.max_length))
        scores = states @ self.network.item_table().T
        return torch.where((lengths == 0)[:, None], self.popularity.to(scores.dtype), scores)


class OnnxExport:
    """What recommenders with a network of their own have for use without Python."""

    network_: NextItemNetwork
    max_length_: int
    vocabulary_: np.ndarray

    @abstractmethod
    def _popularity(self) -> np.ndarray:
        """Scores of all items after an empty history."""

    def to_onnx(self, path: str | os.PathLike) -> None:
        """Write the fitted model as one ONNX file.

        The graph has one input, ``items``: int64 (n_rows, length), any number of rows of any length, as item codes.
        Code ``c`` is ``vocabulary_[c - 1]``; zeros are skipped wherever they stand, so rows may be padded on either
        side, and items that the vocabulary lacks are passed as 0. Its output is ``scores``, (n_rows, n_items), those
        of :meth:`decision_function`: column ``j`` is ``vocabulary_[j]``, the history is not excluded. The metadata
        holds ``vocabulary`` (a JSON list of the labels), ``max_length``, ``model`` and ``seqregen`` (the version).

        Parameters
        ----------
        path : str or path-like
            The file, which is replaced once the new one is complete.

        Raises
        ------
        ImportError
            onnx or onnxscript is not installed (``pip install 'seqregen[onnx]'``), or torch is older than 2.8.
        ValueError
            Labels are neither strings nor numbers, the model is larger than one file can be (2 GiB), or a module of
            yours makes a constant of the number of rows, by ``len(items)``.
        RuntimeError
            torch's exporter cannot follow a module of yours; the message says what it cannot follow as a rule.
        """
        check_is_fitted(self, "network_")
        export_onnx(
            self.network_,
            path,
            max_length=self.max_length_,
            popularity=self._popularity(),
            vocabulary=self.vocabulary_,
            name=type(self).__name__,
        )


def export_onnx(
    network: NextItemNetwork,
    path: str | os.PathLike,
    *,
    max_length: int,
    popularity: np.ndarray,
    vocabulary: np.ndarray,
    name: str,
) -> None:
    """Write a network as an ONNX file; see :meth:`OnnxExport.to_onnx`.

    Parameters
    ----------
    network : NextItemNetwork
    path : str or path-like
    max_length : int
    popularity : ndarray of shape (n_items,)
        Scores after an empty history.
    vocabulary : ndarray of shape (n_items,)
    name : str
        What the file calls the model.
    """
    _require_packages()
    labels = _as_json(vocabulary)
    scoring = _Scoring(network.frozen(), max_length, torch.from_numpy(popularity)).eval()
    # Any items will do; more than one row and more than one place keep both sizes open.
    example = torch.arange(1, 7).remainder(len(vocabulary)).add(1).view(2, 3)
    sizes = {"items": {0: torch.export.Dim("n_rows", min=1), 1: torch.export.Dim("length", min=1)}}
    try:
        with _without_remarks():
            program = torch.onnx.export(
                scoring, (example,), dynamo=True, verbose=False, dynamic_shapes=sizes,
                input_names=["items"], output_names=["scores"],
            )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        raise RuntimeError(
            f"torch cannot export {name}: its forward does what no graph can say, as where Python decides by what is "
            "in a tensor (if, assert, item()). torch.nn.TransformerEncoder does so to see what its mask is: pass "
            "is_causal=True beside a causal one. torch's own message is above."
        ) from error
    assert program is not None
    model = program.model_proto
    _require_open_sizes(model, name)
    from .. import __version__

    described = {"vocabulary": labels, "max_length": str(max_length), "model": name, "seqregen": __version__}
    for key, value in described.items():
        model.metadata_props.add(key=key, value=value)
    if model.ByteSize() > _MOST_BYTES:
        raise ValueError(
            f"{name} takes {model.ByteSize():,} bytes, and one ONNX file holds {_MOST_BYTES:,}; its item table has "
            f"{len(vocabulary):,} rows. Export with a smaller embedding, or deploy network_ with torch."
        )
    with write_aside(path) as aside:
        aside.write_bytes(model.SerializeToString())


def _require_open_sizes(model: Any, name: str) -> None:
    """Refuse a graph for as many rows, or places, as the example had: torch fixes what Python has made a number of."""
    (items,) = model.graph.input
    for what, size in zip(("rows", "places of a row"), items.type.tensor_type.shape.dim, strict=True):
        if not size.dim_param:
            raise ValueError(
                f"{name} cannot be exported for any number of {what}: its forward makes it a number of Python, here "
                f"{size.dim_value}, as len(items) does. Take items.shape[0] for the rows and items.shape[1] for the "
                "places, without int()."
            )


def _require_packages() -> None:
    if torch.__version__ < OLDEST_TORCH:
        raise ImportError(
            f"to_onnx needs torch {OLDEST_TORCH} or newer; this is torch {torch.__version__}, whose exporter fixes "
            "sizes that must stay open, or fails. Load the fitted model where torch is newer, and export it there."
        )
    for package in ("onnx", "onnxscript"):
        require_package(package, "to_onnx", "onnx")


def _as_json(vocabulary: np.ndarray) -> str:
    labels: list[Any] = vocabulary.tolist()
    if vocabulary.dtype == object and not all(isinstance(label, str) for label in labels):
        kind = next(type(label).__name__ for label in labels if not isinstance(label, str))
        raise ValueError(
            "to_onnx writes the vocabulary into the file as JSON, so labels must be strings, or numbers of 64 bits; "
            f"got {'a larger int' if kind == 'int' else kind}. Map your labels to strings before fit."
        )
    # Which refuses labels that no file can hold.
    as_texts(vocabulary, "the item")
    return json.dumps(labels, ensure_ascii=False)


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Silence what the exporter says about torch's own affairs; errors pass."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
