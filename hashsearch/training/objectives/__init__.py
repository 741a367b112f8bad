"""Training objectives by name; one file a loss."""

from __future__ import annotations

from hashsearch.training.objectives.adversarial import Adversarial
from hashsearch.training.objectives.base import Objective, Outputs

__all__ = ["OBJECTIVES", "Objective", "Outputs"]

OBJECTIVES = {Adversarial.name: Adversarial}
