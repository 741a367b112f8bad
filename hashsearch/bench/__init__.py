"""How good and how fast: one run makes one record, and tables and plots of it."""

from __future__ import annotations

from hashsearch.bench.run import DEFAULT_SCALES, record, run
from hashsearch.bench.scale import Progress, format_scale, parse_scale
from hashsearch.bench.tables import Table, tables

__all__ = [
    "DEFAULT_SCALES",
    "Progress",
    "Table",
    "format_scale",
    "parse_scale",
    "record",
    "run",
    "tables",
]
