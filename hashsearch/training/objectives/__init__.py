"""Training objectives by name; one file a loss."""

from __future__ import annotations

from hashsearch.training.objectives.adversarial import Adversarial
from hashsearch.training.objectives.adversarial_eyes import AdversarialEyes
from hashsearch.training.objectives.adversarial_pairs import AdversarialPairs
from hashsearch.training.objectives.base import Objective, Outputs
from hashsearch.training.objectives.classifier_bits import ClassifierBits
from hashsearch.training.objectives.csq import CentralSimilarityQuantisation
from hashsearch.training.objectives.dch import DeepCauchyHashing
from hashsearch.training.objectives.dlbhc import BinaryHashCodes
from hashsearch.training.objectives.dpsh import PairwiseSupervisedHashing
from hashsearch.training.objectives.dsh import DeepSupervisedHashing
from hashsearch.training.objectives.hashnet import HashNet
from hashsearch.training.objectives.ladder import Ladder
from hashsearch.training.objectives.orthohash import OrthoHash

__all__ = ["OBJECTIVES", "Objective", "Outputs"]

OBJECTIVES: dict[str, type[Objective]] = {
    objective.name: objective
    for objective in (
        Adversarial,
        DeepCauchyHashing,
        HashNet,
        PairwiseSupervisedHashing,
        DeepSupervisedHashing,
        BinaryHashCodes,
        CentralSimilarityQuantisation,
        OrthoHash,
        ClassifierBits,
        Ladder,
        AdversarialEyes,
        AdversarialPairs,
    )
}
