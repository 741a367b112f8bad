"""An inspection as one page, as PNG files beside it, as a table, and as a document."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hashsearch.bench.inspection.examples import picture
from hashsearch.bench.inspection.findings import FEWEST_ITEMS, counted, figures_of
from hashsearch.bench.inspection.judgement import judgement_of
from hashsearch.bench.inspection.plots import PLOT_NAMES, SCALE, draw
from hashsearch.bench.page import element, figure, image, page, table_element
from hashsearch.bench.tables import Table
from hashsearch.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from xml.etree.ElementTree import Element

    from hashsearch.bench.inspection.examples import Example
    from hashsearch.bench.inspection.run import Inspection
    from hashsearch.gallery import Gallery

__all__ = ["Verdict", "document", "verdict", "write_report"]

FORMAT = "hashsearch-inspection"
FORMAT_VERSION = 1

_MOST_CONFUSED = 20  # pairs of types in a document

_FIRST = {"map", "distances"}  # plots beside the figures
_CAPTIONS = {
    "map": "Codes that are few bits apart lie near each other, as far as a plane allows; colour "
    "and shape are those of the most frequent type of a code. Types that overlap here share balls.",
    "distances": "Good codes leave a gap between neighbours and strangers, and the edge of the "
    "ball in it.",
    "radius": "Where precision falls before recall has risen, no radius suits.",
    "confusion": "Each row: what a query of this type finds in its ball, in per cent. Off the "
    "diagonal lies what is confused.",
    "bits": "A bit that is 1 on half of the items tells most; one that never changes, nothing.",
    "correlation": "Blocks of strong colour are bits that repeat each other.",
    "codes": "How far right the curves reach: how many items a search cannot tell apart by the "
    "semantic code, and how many it returns.",
}
_ALT = {
    "map": "Scatter plot of the distinct codes by type",
    "distances": "Bar chart of the distances of pairs",
    "radius": "Line chart of precision and recall over the radius",
    "confusion": "Matrix of the types found in the balls of each type",
    "bits": "Bar chart of how often each bit is 1",
    "correlation": "Matrix of the correlations between bits",
    "codes": "Curves of how many items share a code and a ball",
}


class Verdict(NamedTuple):
    """What people are told.

    Attributes:
        table: the figures as text.
        judgement: how good the codes are, and on what that rests, in a sentence.
        findings: what is wrong with the figures, a line each.
    """

    table: Table
    judgement: str
    findings: list[str]


def verdict(inspection: Inspection) -> Verdict:
    """The figures, what they say of the codes as a whole, and what is wrong with them."""
    figures = figures_of(inspection)
    table = Table(
        f"Codes of {_name(inspection.gallery)}: {_facts(inspection)}",
        ("figure", "value", ""),
        tuple((each.what, each.text, "!" if each.findings else "") for each in figures),
        "In use: not constant. Effective: so many independent bits of equal variance would spread "
        "the codes as much.",
        n_text=3,
    )
    findings = [finding for each in figures for finding in each.findings]
    return Verdict(table, judgement_of(inspection), findings)


def write_report(inspection: Inspection, path: Path) -> list[Path]:
    """Write the page, and its plots beside it as ``STEM-NAME.png``, each whole or not at all.

    Args:
        inspection: what was found.
        path: of the page.

    Returns:
        The files written, the page first.

    Raises:
        ArgumentError: the folder or the disk refuses them.
    """
    plots = draw(inspection)
    files = {path: _page(inspection, plots)}
    files |= {_beside(path, name): content for name, content in plots.items()}
    for each, content in files.items():
        write_atomically(each, content)
    for name in set(PLOT_NAMES) - set(plots):
        _beside(path, name).unlink(missing_ok=True)  # of an earlier run, which knew more
    return list(files)


def document(inspection: Inspection) -> dict[str, Any]:
    """All figures, ready for JSON."""
    gallery, types, drawn = inspection.gallery, inspection.of_types, inspection.drawn
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "gallery": {
            "path": None if gallery.path is None else str(gallery.path),
            "items": len(gallery),
            "n_bits": gallery.n_bits,
            "fine_bits": gallery.fine_bits,
            "encoder": gallery.encoder_name,
            "encoder_fingerprint": gallery.encoder_fingerprint,
        },
        "settings": {
            "radius": inspection.radius,
            "queries": len(drawn.queries),
            "searched": len(drawn.searched),
            "bits_of_items": inspection.bits.n_items,
            "seed": inspection.seed,
        },
        "judgement": judgement_of(inspection),
        "figures": [
            {
                "name": each.name,
                "what": each.what,
                "value": each.value,
                "text": each.text,
                "findings": list(each.findings),
            }
            for each in figures_of(inspection)
        ],
        "ones": inspection.bits.ones.tolist(),
        "quality": None if types is None else types.quality,
        "confused": []
        if types is None
        else [pair._asdict() for pair in types.confusion.pairs()[:_MOST_CONFUSED]],
        "worst": [] if types is None else _listed(gallery, types.worst),
        "best": [] if types is None else _listed(gallery, types.best),
        "notes": list(inspection.notes),
    }


def _listed(gallery: Gallery, examples: Sequence[Example]) -> list[dict[str, Any]]:
    rows = [example.row for example in examples]
    return [
        {
            "id": id_,
            "label": label,
            "average_precision": example.average_precision,
            "precision_within": example.precision,
            "recall_within": example.recall,
            "first_ids": example.matches.ids,
        }
        for example, id_, label in zip(
            examples, gallery.ids(rows), gallery.labels(rows), strict=True
        )
    ]


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}-{name}.png")


def _name(gallery: Gallery) -> str:
    return gallery.path.stem if gallery.path else "a gallery in memory"


def _facts(inspection: Inspection) -> str:
    gallery = inspection.gallery
    bits = f"{gallery.n_bits} + {gallery.fine_bits} bits"
    encoder = f", encoder {Path(gallery.encoder_name).stem}" if gallery.encoder_name else ""
    return f"{counted(len(gallery))}, {bits}{encoder}, radius {inspection.radius}"


def _page(inspection: Inspection, plots: Mapping[str, bytes]) -> bytes:
    table, judgement, findings = verdict(inspection)
    boxes = []
    if findings:
        told = element("ul", *(element("li", finding) for finding in findings))
        boxes.append(element("div", told, class_="findings"))
    elif len(inspection.gallery) >= FEWEST_ITEMS:
        told = element("p", "Nothing stands out.")
        boxes.append(element("div", told, class_="findings none"))
    first = [name for name in plots if name in _FIRST]
    rest = [name for name in plots if name not in _FIRST]
    summary = [table_element(replace(table, title="")), element("div", *_figures(plots, first))]
    content = [
        element("p", f"{_facts(inspection)}, seed {inspection.seed}", class_="faint"),
        element("p", judgement, class_="judgement"),
        *boxes,
        element("div", *summary, class_="plots"),
        element("h2", "Balls, types and bits"),
        element("div", *_figures(plots, rest), class_="plots"),
        *_queries(inspection),
    ]
    if inspection.notes:
        content.append(element("h2", "How this was measured"))
        content.append(element("ul", *(element("li", note) for note in inspection.notes)))
    return page(f"Codes of {_name(inspection.gallery)}", content)


def _figures(plots: Mapping[str, bytes], names: Sequence[str]) -> list[Element]:
    return [figure(plots[name], _ALT[name], _CAPTIONS[name], scale=SCALE) for name in names]


def _queries(inspection: Inspection) -> list[Element]:
    """The worst and the best queries, each with the first that it finds."""
    types, gallery = inspection.of_types, inspection.gallery
    if types is None:
        return []
    shown = [*types.worst, *types.best]
    rows = {row for example in shown for row in (example.row, *example.matches.rows.tolist())}
    pictures = {row: picture(gallery, row) for row in rows}
    if not any(pictures.values()):
        pictures = {}
    frames = f"Blue frames: within radius {inspection.radius}; dashed ones: beyond it."
    if not pictures:
        frames = "The gallery has no thumbnails, and no images are at hand."
    return [
        element("h2", "Queries"),
        element(
            "p",
            f"One of a type, by average precision (AP). {frames} d 1 (12): distance 1 by the "
            "semantic code, 12 by the whole code. ≠: of another type.",
            class_="faint",
        ),
        element("h3", "Worst"),
        *(_query(gallery, example, pictures) for example in types.worst),
        element("h3", "Best"),
        *(_query(gallery, example, pictures) for example in types.best),
    ]


def _query(gallery: Gallery, example: Example, pictures: Mapping[int, bytes | None]) -> Element:
    (id_,), (label,) = gallery.ids([example.row]), gallery.labels([example.row])
    asked = element(
        "div",
        _tile(pictures, example.row, id_, label, f"AP {example.average_precision:.3f}"),
        element(
            "p",
            f"precision {example.precision:.2f}, recall {example.recall:.2f}, "
            f"{int(example.matches.ball_size[0]) - 1:,} others in its ball",
            class_="note",
        ),
    )
    found = example.matches
    facts = zip(
        found.rows.tolist(),
        found.ids,
        found.labels,
        found.distance.tolist(),
        found.full_distance.tolist(),
        found.in_ball.tolist(),
        strict=True,
    )
    tiles = [
        _tile(
            pictures,
            row,
            other,
            name,
            f"d {distance} ({full})",
            kind="tile inside" if inside else "tile beyond",
            stranger=name != label,
        )
        for row, other, name, distance, full, inside in facts
    ]
    return element("div", asked, element("div", *tiles, class_="matches"), class_="query")


def _tile(
    pictures: Mapping[int, bytes | None],
    row: int,
    id_: str,
    label: str | None,
    below: str,
    *,
    kind: str = "tile",
    stranger: bool = False,
) -> Element:
    parts: list[Element | str] = []
    if pictures:
        stored = pictures.get(row)
        parts.append(
            element("div", class_="blank") if stored is None else image(stored, label or id_)
        )
    if label:
        parts.append(element("b", f"≠ {label}", class_="stranger") if stranger else label)
        parts.append(element("br"))
    return element("div", *parts, below, element("br"), id_, class_=kind, title=id_)
