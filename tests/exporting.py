"""Whether models can be exported here."""

from __future__ import annotations

import pytest

__all__ = ["require_exporter"]


def require_exporter() -> None:
    """Skip a test where ``to_onnx`` would refuse."""
    import torch

    from seqregen.targets.onnx_export import OLDEST_TORCH

    pytest.importorskip("onnxscript")
    if torch.__version__ < OLDEST_TORCH:
        pytest.skip(f"to_onnx refuses torch {torch.__version__}")
