"""What the DR4SR paper measured (KDD 2024): Tables 1 to 6 and Figures 4 to 7.

Figures 4 to 7 have no numbers in print; those here are from the notebooks that the authors drew them with. Figure 7 is
of Beauty alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["MODELS", "PAPER", "ROWS"]

PAPER: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
MODELS = tuple(PAPER["table3"])
# Rows of Table 3, and the data variant that stands for each.
ROWS = {"backbone": "original", "DR4SR": "regenerated", "DR4SR+": "personalized_reference"}
