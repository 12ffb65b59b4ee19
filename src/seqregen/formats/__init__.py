"""Everything that sequences are read from and written to: frames, lists of Arrow, Parquet, text, RecBole, RecTools."""

from .frames import LayoutError, convert_table, from_frame, to_frame
from .lists import convert_arrow_lists
from .parquet import read_parquet, to_parquet
from .peers import to_recbole, to_rectools
from .text import read_text, write_text

__all__ = [
    "LayoutError",
    "convert_arrow_lists",
    "convert_table",
    "from_frame",
    "read_parquet",
    "read_text",
    "to_frame",
    "to_parquet",
    "to_rectools",
    "to_recbole",
    "write_text",
]
