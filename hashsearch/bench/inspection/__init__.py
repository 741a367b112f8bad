"""How healthy the codes of a gallery are: figures, findings, plots and one page of them."""

from __future__ import annotations

from hashsearch.bench.inspection.findings import Figure, figures_of
from hashsearch.bench.inspection.report import Verdict, document, verdict, write_report
from hashsearch.bench.inspection.run import Inspection, inspect_gallery

__all__ = [
    "Figure",
    "Inspection",
    "Verdict",
    "document",
    "figures_of",
    "inspect_gallery",
    "verdict",
    "write_report",
]
