"""One benchmark of one gallery, as one record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hashsearch.bench.latency import build_and_time, size_of, time_gallery
from hashsearch.bench.machine import describe_machine
from hashsearch.bench.pairs import judged_pairs
from hashsearch.bench.protocols import PROTOCOLS
from hashsearch.bench.quality import one_order_map, quality, same_item_recall
from hashsearch.bench.scale import (
    Originals,
    Progress,
    check_scale,
    format_scale,
    scaled_codes,
    uniform_codes,
)
from hashsearch.bench.splits import FEWEST, Split, held_out, same_item, stratified_order
from hashsearch.bench.subject import Subject, subject_of
from hashsearch.errors import ArgumentError
from hashsearch.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashsearch.datasets.image_set import ImageSet
    from hashsearch.datasets.pairs import JudgedPairs
    from hashsearch.encoder import Encoder
    from hashsearch.gallery import Gallery

__all__ = ["DEFAULT_SCALES", "FORMAT", "FORMAT_VERSION", "record", "run"]

FORMAT = "hashsearch-bench"
FORMAT_VERSION = 2
DEFAULT_SCALES = (1_000, 10_000)

_MAX_QUERIES = 1000
_PEER_QUERIES = 200
_ONE_ORDER_ITEMS = 20_000  # every pair is looked at: seconds up to here
_ENCODED_IMAGES = 2000


def run(
    gallery: Gallery,
    *,
    radius: int = 2,
    scales: Sequence[int] | None = None,
    peers: str | None = None,
    overheads: bool = False,
    pairs: JudgedPairs | None = None,
    seed: int = 0,
    encoder: Encoder | None = None,
    images: ImageSet | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure quality and latency of a gallery and of galleries at other scales.

    Args:
        gallery: the gallery at hand.
        radius: of the ball, in bits; more than the code has counts as all of them.
        scales: sizes of further galleries, in items; past the items at hand they are
            filled with deformed copies of them. :data:`DEFAULT_SCALES`, as far as the
            gallery reaches, if None.
        peers: compare with other engines at each scale, too: ``basic`` or ``all``, see
            :data:`hashsearch.bench.peers.PEER_SETS`.
        overheads: measure cold start and encoding throughput, too.
        pairs: measure on which side of the radius these lie, too; their places are rows of
            the gallery.
        seed: of the choice of queries, of the deformed copies and of the bootstrap.
        encoder: see :func:`hashsearch.bench.subject.subject_of`.
        images: see :func:`hashsearch.bench.subject.subject_of`.
        progress: told what is being done, and how far it is.

    Returns:
        A record ready for JSON; ``benchmarks/METHOD.md`` says what stands in it.

    Raises:
        ArgumentError: a radius or seed below 0, a gallery too small to hold
            queries out, a scale that cannot be reached (the largest is named), or a pair of
            rows that the gallery does not have.
        GalleryError: a search answer differs from brute force.
        EncoderMismatch: the encoder given is not the one of the gallery.
    """
    if radius < 0 or seed < 0:
        raise ArgumentError(f"radius ({radius}) and seed ({seed}) must be 0 or more")
    radius = min(radius, gallery.n_bits)
    tell = progress or _silent
    tell("reading the gallery", 0, 1)
    subject = subject_of(gallery, encoder=encoder, images=images)
    split, protocol = _split(subject, seed, of_sample=images is None)
    wanted = _scales(scales, split, subject)
    bench = _Bench(gallery, subject, split, protocol, radius, seed, tell)
    tell("quality of the gallery", 0, 1)
    first_quality = bench.quality_at_hand()
    found_again = bench.same_item()
    judged = None
    if pairs is not None:
        tell("judged pairs", 0, 1)
        judged = {
            "protocol": _protocol_of_pairs(gallery, pairs, subject),
            **judged_pairs(gallery.codes(), pairs, n_bits=gallery.n_bits, radius=radius, seed=seed),
        }
    tell("latency of the gallery", 0, 1)
    latency = [bench.latency_at_hand()]
    qualities, compared = [first_quality], []
    for n_items in wanted:
        at_scale = bench.at_scale(n_items, peers=peers)
        qualities.append(at_scale.quality)
        latency += at_scale.latency
        compared += at_scale.peers
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": describe_machine(),
        "gallery": bench.description(),
        "settings": {
            "radius": radius,
            "scales": wanted,
            "threads": 1,
            "seed": seed,
            "protocol": protocol,
            "neighbours": None if subject.labels is None else "same-type",
        },
        "quality": [entry for entry in qualities if entry],
        "same_item": found_again,
        "pairs": judged,
        "latency": latency,
        "peers": compared,
        "overheads": bench.overheads() if overheads else None,
        "notes": subject.notes,
    }


def record(result: dict[str, Any], out: Path) -> list[Path]:
    """Write a record and its plots into a folder, each file whole or not at all.

    Args:
        result: from :func:`run`.
        out: the folder; made if it is not there.

    Returns:
        The files written: ``result.json`` first, then the plots.

    Raises:
        ArgumentError: the folder or the disk refuses them.
    """
    # matplotlib takes a second to import; runs that record nothing do without it.
    from hashsearch.bench.plots import PLOT_NAMES, draw  # noqa: PLC0415

    files = {"result.json": (json.dumps(result, indent=1, allow_nan=False) + "\n").encode()}
    files.update(draw(result))
    for name, content in files.items():
        write_atomically(out / name, content)
    for name in set(PLOT_NAMES) - set(files):
        (out / name).unlink(missing_ok=True)  # of an earlier run, which measured more
    return [out / name for name in files]


@dataclass(frozen=True)
class _AtScale:
    """What was measured at one scale; quality is None where it was left out."""

    quality: dict[str, Any] | None
    latency: list[dict[str, Any]]
    peers: list[dict[str, Any]]


@dataclass(frozen=True)
class _Bench:
    """The settings of one run, and its measurements one by one, each ready for JSON."""

    gallery: Gallery
    subject: Subject
    split: Split
    protocol: str
    radius: int
    seed: int
    tell: Progress

    @property
    def queries(self) -> npt.NDArray[np.uint8]:
        return self.subject.codes[self.split.queries]

    def description(self) -> dict[str, Any]:
        return {
            "name": Path(self.gallery.path).stem if self.gallery.path else None,
            "items": len(self.gallery),
            "n_bits": self.gallery.n_bits,
            "fine_bits": self.gallery.fine_bits,
            "encoder": Path(self.gallery.encoder_name or "").stem or None,
            "encoder_fingerprint": self.gallery.encoder_fingerprint,
        }

    def quality_at_hand(self) -> dict[str, Any] | None:
        items = self.split.gallery
        measured = self._quality("gallery", self.subject.codes[items], items, len(items))
        labels = self.subject.labels
        if measured is not None and labels is not None and len(items) <= _ONE_ORDER_ITEMS:
            measured["one_order_map"] = one_order_map(
                self.queries,
                labels[self.split.queries],
                self.subject.codes[items],
                labels[items],
                n_bits=self.gallery.n_bits,
                radius=self.radius,
                seed=self.seed,
            )
        return measured

    def same_item(self) -> dict[str, Any] | None:
        originals = self.subject.originals
        if originals is None:
            return None
        self.tell("same item", 0, 1)
        task = same_item(originals.images.images)
        return {
            "protocol": "same-item",
            **same_item_recall(
                originals.encoder.encode_pixels(task.views[:, None]),
                task.items,
                self.subject.codes,
                n_bits=self.gallery.n_bits,
                radius=self.radius,
                seed=self.seed,
            ),
        }

    def latency_at_hand(self) -> dict[str, Any]:
        file_bytes = Path(self.gallery.path).stat().st_size if self.gallery.path else None
        return {
            "scale": "gallery",
            "codes": "learned",
            "query_protocol": self.protocol,
            **size_of(self.gallery, file_bytes),
            "build_s": None,
            "open_s": None,
            **time_gallery(self.gallery, self.queries, radius=self.radius),
        }

    def at_scale(self, n_items: int, *, peers: str | None) -> _AtScale:
        name = format_scale(n_items)
        real = self.split.gallery
        originals = self.subject.originals
        scaled = scaled_codes(
            n_items,
            self.subject.codes[real],
            originals and Originals(originals.images.subset(real), originals.encoder),
            seed=self.seed,
            progress=self.tell,
        )
        self.tell(f"quality at {name}", 0, 1)
        measured = self._quality(name, scaled.codes, real[scaled.sources], scaled.n_real)
        self.tell(f"latency at {name}, learned codes", 0, 1)
        built, learned = self._latency(name, "learned", scaled.codes, self.queries)
        compared = self._compared(name, "learned", built, self.queries, peers)
        self.tell(f"latency at {name}, uniform codes", 0, 1)
        width = self.subject.codes.shape[1]
        asked = uniform_codes(len(self.queries), width, seed=self.seed + 1)
        built, uniform = self._latency(
            name, "uniform", uniform_codes(n_items, width, seed=self.seed), asked
        )
        compared += self._compared(name, "uniform", built, asked, peers)
        return _AtScale(measured, [learned, uniform], compared)

    def _compared(
        self,
        scale: str,
        kind: str,
        built: Gallery,
        queries: npt.NDArray[np.uint8],
        peers: str | None,
    ) -> list[dict[str, Any]]:
        """What other engines do with these codes, if that is asked for."""
        if peers is None:
            return []
        # Most runs do without it, and without FAISS.
        from hashsearch.bench.peers import compare_with_peers  # noqa: PLC0415

        compared = compare_with_peers(
            built,
            queries[:_PEER_QUERIES],
            radius=self.radius,
            peers=peers,
            progress=lambda what: self.tell(f"peers at {scale}, {kind} codes: {what}", 0, 1),
        )
        return [{"scale": scale, "codes": kind, **compared}]

    def overheads(self) -> dict[str, Any]:
        # It starts processes and builds galleries; most runs do without it.
        from hashsearch.bench.overheads import cold_query, encoding_throughput  # noqa: PLC0415

        originals = self.subject.originals
        if originals is None:
            reason = "they need the gallery's encoder and images"
            self.subject.notes.append(f"overheads are left out: {reason}")
            return {"skipped": reason}
        images = originals.images
        some = images.subset(np.arange(min(_ENCODED_IMAGES, len(images)), dtype=np.int64))
        return {
            "skipped": None,
            "cold_query": cold_query(self.gallery, images, progress=self.tell),
            "encoding": encoding_throughput(some, originals.encoder, progress=self.tell),
        }

    def _quality(
        self,
        scale: str,
        codes: npt.NDArray[np.uint8],
        sources: npt.NDArray[np.int64],
        n_real: int,
    ) -> dict[str, Any] | None:
        """Of codes that are, or are made from, the items at ``sources``."""
        if self.subject.labels is None:
            return None
        return {
            "scale": scale,
            "protocol": self.protocol,
            "real_items": n_real,
            **quality(
                self.queries,
                self.subject.labels[self.split.queries],
                codes,
                self.subject.labels[sources],
                n_bits=self.gallery.n_bits,
                radius=self.radius,
                seed=self.seed,
            ),
        }

    def _latency(
        self,
        scale: str,
        kind: str,
        codes: npt.NDArray[np.uint8],
        queries: npt.NDArray[np.uint8],
    ) -> tuple[Gallery, dict[str, Any]]:
        built, timed = build_and_time(
            codes,
            queries,
            n_bits=self.gallery.n_bits,
            fine_bits=self.gallery.fine_bits,
            radius=self.radius,
        )
        protocol = self.protocol if kind == "learned" else "uniform"
        return built, {"scale": scale, "codes": kind, "query_protocol": protocol, **timed}


def _silent(what: str, done: int, total: int) -> None:
    """Report to nobody."""


def _split(subject: Subject, seed: int, *, of_sample: bool) -> tuple[Split, str]:
    """Queries and gallery items, the latter shuffled so that every prefix is a fair sample."""
    n_items = len(subject.codes)
    if n_items < 5:
        raise ArgumentError(f"a gallery of {n_items} items is too small to measure; 5 are needed")
    if subject.labels is not None:
        split = held_out(subject.labels, seed=seed)
        order = stratified_order(subject.labels[split.gallery], seed)
        silent = np.setdiff1d(subject.labels, subject.labels[split.queries]).tolist()
        if silent:
            shown = ", ".join(silent[:3]) + (", ..." if len(silent) > 3 else "")
            subject.notes.append(
                f"{len(silent)} types of fewer than five items give no queries: {shown}"
            )
        # Only of the sample is it known that no encoder trained on it: it is the test split.
        known = of_sample and subject.originals is not None
        protocol = "held-out" if known else "own-split"
        if subject.trained_on:
            protocol = "own-split-seen"
            subject.notes.append(
                f"{len(subject.trained_on):,} of {n_items:,} items have ids that the encoder was "
                "trained on: its figures here are not those of unseen images"
            )
        return Split(split.queries, split.gallery[order]), protocol
    order = np.random.default_rng(seed).permutation(n_items).astype(np.int64)
    n_queries = min(_MAX_QUERIES, n_items // FEWEST)
    return Split(np.sort(order[:n_queries]), order[n_queries:]), "own-split-unlabelled"


def _protocol_of_pairs(gallery: Gallery, pairs: JudgedPairs, subject: Subject) -> str:
    """Whether images that were judged trained the encoder."""
    rows = np.unique(np.concatenate([pairs.queries, pairs.items]))
    seen = not subject.trained_on.isdisjoint(gallery.ids(rows))
    return PROTOCOLS["pairs-seen" if seen else "pairs"].name


def _scales(scales: Sequence[int] | None, split: Split, subject: Subject) -> list[int]:
    """The scales asked for, ascending, once each, all within reach."""
    n_real = len(split.gallery)
    can_copy = subject.originals is not None
    if scales is None:
        return [n_items for n_items in DEFAULT_SCALES if n_items <= n_real or can_copy]
    for n_items in scales:
        check_scale(n_items, n_real, can_copy=can_copy)
    return sorted(set(scales))
