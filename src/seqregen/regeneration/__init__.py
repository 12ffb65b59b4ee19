"""Regeneration: learning (sequence -> pattern) pairs, and decoding new patterns from every sequence; teachers."""

from .regenerator import DatasetRegenerator
from .report import RegenerationReport
from .teacher import TeacherRegenerator

__all__ = ["DatasetRegenerator", "RegenerationReport", "TeacherRegenerator"]
