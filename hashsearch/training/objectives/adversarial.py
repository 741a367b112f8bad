"""The paper's objective: classification, Cauchy Hamming loss and a discriminator.

Singh, Sheet and Dasgupta, "Adversarially Trained Deep Neural Semantic Hashing Scheme for
Subjective Search in Fashion Inventory", arXiv 1907.00382. The paper names the three
terms; weights, pairs and layer sizes are ours.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from hashsearch.training.discriminator import Discriminator
from hashsearch.training.objectives.base import Outputs, classification_loss, n_images
from hashsearch.training.objectives.cauchy import CauchyObjective, continuous_hamming_distance

__all__ = ["Adversarial", "draw_partners", "nearest_partners"]


class Adversarial(CauchyObjective):
    """Three objectives on one semantic head.

    - ``classification``: cross-entropy of the item type from ``h = tanh(u)``, or of each of an
      item's attributes.
    - ``hamming``: Cauchy cross-entropy over pairs, with its ``quantisation`` term.
    - ``adversarial``: a discriminator D sees an image's features and a code, and says
      whether the code is that image's own or that of a neighbour of it. D learns to tell;
      the encoder learns codes that leave D at chance, so that what sets an item apart
      from its neighbours is scrambled out of the semantic code. D minimises
      ``(softplus(-D(x_i, b_i)) + softplus(D(x_i, b_j))) / 2`` over images i and a neighbour j
      of each, the encoder ``mean CE(1/2, sigmoid(D)) - log 2`` over the same logits.

    D sees the features detached: the encoder can only answer with its codes. Of a code it
    sees the bits that a search will see, ``sign(h)``; their gradient is taken for that of ``h``
    (the straight-through estimator of Bengio, Leonard and Courville, arXiv 1308.3432). Shown
    ``h`` itself, it tells images apart by how far each output is from its corner, which no
    search looks at.

    Constants, beside those of :class:`CauchyObjective`, all from 0 to 1:

    - ``softness`` s: D sees ``s h + (1 - s) sign(h)``.
    - ``views``: the share of the swapped codes that are of the other view of the same image,
      whatever neighbour was drawn.
    - ``nearest``: the share of the swapped codes that are of the image's nearest neighbour in the
      batch (see :func:`nearest_partners`), whatever else was drawn.
    - ``ceiling``: D learns from a batch only where no more than this share of its answers is right,
      which holds a strong D back; at 1 it always learns. Wu et al. ("Learning a Probabilistic
      Latent Space of Object Shapes via 3D Generative-Adversarial Modeling", arXiv 1610.07584) let
      it rest so above 0.8, by its accuracy on the batch before.
    """

    name = "adversarial"
    default_weights = {  # noqa: RUF012 - read only
        "classification": 1.0,
        "hamming": 0.5,
        "quantisation": 0.1,
        "adversarial": 0.2,
    }
    default_constants = {  # noqa: RUF012 - as above
        "gamma": 20.0,
        "settled_gamma": 2.0,
        "softness": 0.0,
        "views": 0.0,
        "nearest": 0.0,
        "ceiling": 1.0,
    }
    constant_ranges = dict.fromkeys(("softness", "views", "nearest", "ceiling"), (0.0, 1.0))

    def build(self, n_features: int, n_bits: int, n_classes: int) -> None:
        """See :meth:`Objective.build`."""
        self.classifier = nn.Linear(n_bits, n_classes)
        self.discriminator = Discriminator(n_features, n_bits)

    def terms(
        self, outputs: Outputs, labels: Tensor, neighbours: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """See :meth:`Objective.terms`."""
        codes = torch.tanh(outputs.semantic)
        terms = {}
        if self.weights["classification"]:
            terms["classification"] = classification_loss(self.classifier(codes), labels)
        terms |= self.cauchy_terms(codes, neighbours)
        if self.weights["adversarial"]:
            terms["adversarial"] = self._scramble(outputs, neighbours, generator)
        return terms

    def adversary(
        self, outputs: Outputs, neighbours: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor] | None:
        """See :meth:`Objective.adversary`."""
        if not self.weights["adversarial"]:
            return None
        own, swapped = self._judge(outputs.detached(), neighbours, generator)
        if not len(own):
            return None
        loss = functional.softplus(-own).mean() + functional.softplus(swapped).mean()
        accuracy = ((own > 0).float().mean() + (swapped <= 0).float().mean()) / 2
        rests = bool(accuracy > self.constants["ceiling"])
        return (loss.detach() if rests else loss) / 2, accuracy

    def adversary_parameters(self) -> list[nn.Parameter]:
        """The discriminator's."""
        return list(self.discriminator.parameters())

    def _scramble(self, outputs: Outputs, neighbours: Tensor, generator: torch.Generator) -> Tensor:
        """How far D is from chance: cross-entropy against 1/2, less its least value log 2."""
        own, swapped = self._judge(outputs, neighbours, generator)
        logits = torch.cat([own, swapped])
        if not len(logits):
            return logits.sum()  # no pair to judge in this batch: 0, and still differentiable
        even = torch.full_like(logits, 0.5)
        return functional.binary_cross_entropy_with_logits(logits, even) - math.log(2)

    def _seen(self, outputs: Outputs) -> Tensor:
        """What D knows of each image: ``(n, n_features)``."""
        return outputs.features.detach()

    def _shown(self, outputs: Outputs, rows: Tensor, partners: Tensor) -> Tensor:
        """What D sees beside a code of one of the two: ``(m, n_features)``."""
        del partners
        return self._seen(outputs)[rows]

    def _judge(
        self, outputs: Outputs, neighbours: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """D's logits for each image with its own code and with a swapped one."""
        soft = torch.tanh(outputs.semantic)
        signs = torch.where(soft >= 0, 1.0, -1.0)
        codes = soft + (1 - self.constants["softness"]) * (signs - soft).detach()
        rows, partners = draw_partners(neighbours, generator, self.constants["views"])
        if self.constants["nearest"]:
            nearest = nearest_partners(soft.detach(), neighbours)[rows]
            taken = torch.rand(len(rows), generator=generator) < self.constants["nearest"]
            partners = torch.where(taken.to(rows.device) & (nearest >= 0), nearest, partners)
        shown = self._shown(outputs, rows, partners)
        own = self.discriminator(shown, codes[rows])
        swapped = self.discriminator(shown, codes[partners])
        return own, swapped


def draw_partners(
    neighbours: Tensor, generator: torch.Generator, views: float = 0.0
) -> tuple[Tensor, Tensor]:
    """One random neighbour, or the other view, for each item that has a neighbour beside itself.

    Args:
        neighbours: bool ``(n, n)``; the diagonal is not looked at.
        generator: where the randomness comes from (on the CPU).
        views: with which probability the other view is taken; rows are then two views of n / 2
            images, one half after the other.

    Returns:
        int64 ``(m,)`` items and int64 ``(m,)`` their partners; m is 0 where no item has a
        neighbour.

    Raises:
        ArgumentError: an odd number of rows has no two views.
    """
    n = len(neighbours)
    others = neighbours & ~torch.eye(n, dtype=torch.bool, device=neighbours.device)
    draw = torch.rand(n, n, generator=generator).to(neighbours.device)
    partners = draw.masked_fill(~others, -1).argmax(dim=1)
    rows = torch.nonzero(others.any(dim=1)).squeeze(1)
    partners = partners[rows]
    if views:
        away = n_images(n)
        taken = (torch.rand(len(rows), generator=generator) < views).to(rows.device)
        partners = torch.where(taken, (rows + away) % n, partners)
    return rows, partners


def nearest_partners(codes: Tensor, neighbours: Tensor) -> Tensor:
    """The neighbour whose code is hardest to tell from each item's own, but not the same.

    That is the one of least :func:`continuous_hamming_distance`, among those of other images whose
    bits are others; the first row of several that are equally near.

    Args:
        codes: ``h = tanh(u)``, float ``(n, K)``; rows are two views of n / 2 images, one half
            after the other.
        neighbours: bool ``(n, n)``; the diagonal is not looked at.

    Returns:
        int64 ``(n,)`` rows, -1 where there is no such neighbour.

    Raises:
        ArgumentError: an odd number of rows has no two views.
    """
    n, n_bits = codes.shape
    image = torch.arange(n, device=codes.device) % n_images(n)
    signs = torch.where(codes >= 0, 1.0, -1.0)
    near = neighbours & (image[:, None] != image) & (signs @ signs.T < n_bits)
    distance = continuous_hamming_distance(codes, codes).masked_fill(~near, torch.inf)
    return torch.where(near.any(dim=1), distance.argmin(dim=1), -1)
