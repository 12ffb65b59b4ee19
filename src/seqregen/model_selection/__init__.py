"""The protocol: hold out each row's last item, train on the rest, rank every item."""

from __future__ import annotations

from .held_out import append_targets, append_validation, hold_out_last, leave_one_out
from .splitters import LeaveLastOut

__all__ = ["LeaveLastOut", "append_targets", "append_validation", "hold_out_last", "leave_one_out"]
