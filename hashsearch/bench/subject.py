"""What is measured: the items of a gallery in an order of their own, and what made them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hashsearch.bench.leaks import took_part
from hashsearch.bench.scale import Originals
from hashsearch.datasets import fashion_mnist
from hashsearch.errors import HashsearchError
from hashsearch.places import encoder_of

if TYPE_CHECKING:
    from hashsearch.datasets.image_set import ImageSet
    from hashsearch.encoder import Encoder
    from hashsearch.gallery import Gallery

__all__ = ["Subject", "subject_of"]

_PROBED = 32  # images encoded again to see that they are the gallery's own


@dataclass(frozen=True)
class Subject:
    """The items of a gallery, in the order of their ids.

    A gallery's own order follows its codes; that of the ids is the same for every
    encoder, so that all are asked the same queries.

    Attributes:
        codes: ``uint8 (n, code_bytes)``.
        labels: ``(n,)`` of str; None where not every item has one.
        originals: images of the same items, and the encoder that made the codes; None
            where one of them is not at hand.
        trained_on: ids of items that the encoder learnt from, as far as it is known.
        notes: one line for each thing that is left out, and why.
    """

    codes: npt.NDArray[np.uint8]
    labels: npt.NDArray[Any] | None
    originals: Originals | None
    trained_on: frozenset[str] = frozenset()
    notes: list[str] = field(default_factory=list)


def subject_of(
    gallery: Gallery, *, encoder: Encoder | None = None, images: ImageSet | None = None
) -> Subject:
    """The items of a gallery, with encoder and images where they can be found.

    Args:
        gallery: is read whole.
        encoder: the one that made the gallery; looked for by its name if not given.
        images: a set that holds all items, by id; the sample that ships if not given.

    Raises:
        EncoderMismatch: the encoder given is another one.
    """
    notes: list[str] = []
    ids = list(gallery.ids())
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
    codes = gallery.codes()[order]
    names = [label or "" for label in gallery.labels()]
    labels = np.array(names)[order] if all(names) else None
    if labels is None:
        missing = names.count("")
        notes.append(
            f"quality is left out: {missing} of {len(names)} items have no label; "
            "build the gallery from a labelled source"
        )
    if encoder is None:
        try:
            encoder = encoder_of(gallery)
        except HashsearchError as error:
            notes.append(f"no deformed copies or views: {error}")
    else:
        gallery.check_encoder(encoder.fingerprint)
    originals, trained_on = None, frozenset[str]()
    if encoder is not None:
        trained_on = took_part(encoder, ids)
        shown = _images_of([ids[row] for row in order], codes, encoder, images)
        if shown is None:
            notes.append("no deformed copies or views: the gallery's images are not at hand")
        else:
            originals = Originals(shown, encoder)
    return Subject(codes, labels, originals, trained_on, notes)


def _images_of(
    ids: list[str], codes: npt.NDArray[np.uint8], encoder: Encoder, images: ImageSet | None
) -> ImageSet | None:
    """The images of these ids, if all are in the set and give these codes."""
    source = fashion_mnist.sample() if images is None else images
    row_of = {name: row for row, name in enumerate(source.ids)}
    if not all(name in row_of for name in ids):
        return None
    shown = source.subset(np.array([row_of[name] for name in ids], dtype=np.int64))
    size = encoder.preprocessing.size
    if encoder.preprocessing.channels != 1 or shown.images.shape[1:] != (size, size):
        return None
    again = encoder.encode_pixels(shown.pixels[:_PROBED])
    # An own photo may bear the id of a sample image. Another batch size may round a bit
    # the other way, so the codes need not be equal to the last bit.
    differing = np.bitwise_count(again ^ codes[:_PROBED]).sum()
    return shown if differing <= 0.01 * 8 * again.size else None
