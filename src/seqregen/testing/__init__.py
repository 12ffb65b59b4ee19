"""Conformance checks for models of your own."""

from .target_checks import CHECKS, check_target

__all__ = ["CHECKS", "check_target"]
