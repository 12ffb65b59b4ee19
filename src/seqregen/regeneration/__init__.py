"""Regeneration: decoding new patterns from every sequence, rows that teachers continue, a filter of added rows."""

from .rank_filter import RankFilter
from .regenerator import DatasetRegenerator
from .report import RegenerationReport
from .teacher import TeacherRegenerator

__all__ = ["DatasetRegenerator", "RankFilter", "RegenerationReport", "TeacherRegenerator"]
