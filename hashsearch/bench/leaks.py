"""Which images of a gallery or a catalogue took part in the training of an encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashsearch.encoder import Encoder

__all__ = ["took_part"]

_TRAINING_SPLIT = {"fashion-mnist": "train-"}  # how the ids of what may have trained begin


def took_part(encoder: Encoder, ids: Sequence[str]) -> frozenset[str]:
    """Those that trained an encoder or chose its best epoch, as far as their ids tell.

    An encoder of photos lists the ids that it learnt from. One of Fashion-MNIST does not: there
    all of the training split counts, though few labels may have been used. An encoder that was
    made elsewhere tells nothing, and none counts.

    Args:
        encoder: whose training it is.
        ids: of images; another catalogue may use the same ids for others.
    """
    listed = encoder.took_part(ids)
    if listed is not None:
        return frozenset(name for name, part in zip(ids, listed.tolist(), strict=True) if part)
    beginning = _TRAINING_SPLIT.get(encoder.record.dataset)
    if beginning is None:
        return frozenset()
    return frozenset(name for name in ids if name.startswith(beginning))
