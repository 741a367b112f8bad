"""Systems that are fitted to images without types and without a backbone, by name."""

from __future__ import annotations

from hashsearch.training.fitted.base import FittedNetwork, FittedSystem
from hashsearch.training.fitted.itq import IterativeQuantisation
from hashsearch.training.fitted.lsh import RandomHyperplanes
from hashsearch.training.fitted.semantic_hashing import SemanticHashing

__all__ = ["FITTED", "FittedNetwork", "FittedSystem"]

FITTED: dict[str, type[FittedSystem]] = {
    system.objective: system
    for system in (RandomHyperplanes, IterativeQuantisation, SemanticHashing)
}
