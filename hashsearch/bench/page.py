"""One HTML page that is whole in itself: to keep, to send, to print.

Pictures are in it as data, there is no script, and a Content-Security-Policy forbids the browser to
fetch or run anything, whatever a label says. The page is built as a tree, not as text: so nothing
that is put into it can become anything but text (:mod:`xml.etree.ElementTree` escapes it).
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from xml.etree.ElementTree import Element, fromstring, tostring

from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hashsearch.bench.tables import Table

__all__ = [
    "element",
    "figure",
    "image",
    "markdown_page",
    "page",
    "report_page",
    "table_element",
]

Content: TypeAlias = "Element | str"

_WIDE = 600  # pixels; text in a plot of more would be too small on a phone
_LONG = 30  # letters of a cell that may fold; an interval is better read on one line
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def page(title: str, content: Iterable[Content]) -> bytes:
    """A whole page as UTF-8.

    Args:
        title: of the window, and the heading of the page.
        content: what stands below it.
    """
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", _STYLE),
    )
    body = element("body", element("main", element("h1", title), *content))
    text = tostring(element("html", head, body, lang="en"), encoding="unicode", method="html")
    # A name of a file may hold bytes that are no UTF-8.
    return f"<!DOCTYPE html>\n{text}\n".encode(errors="backslashreplace")


def element(tag: str, *content: Content, **attributes: str) -> Element:
    """An element; a name of an attribute that Python has for itself ends in ``_``.

    >>> tostring(element("p", "a < b ", element("b", "c", class_="faint"), "d"))
    b'<p>a &lt; b <b class="faint">c</b>d</p>'
    """
    made = Element(
        tag,
        {name.strip("_").replace("_", "-"): _visible(value) for name, value in attributes.items()},
    )
    for part in content:
        if not isinstance(part, str):
            made.append(part)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + _visible(part)
        else:
            made.text = (made.text or "") + _visible(part)
    return made


def image(content: bytes, alt: str, *, kind: str = "jpeg", **attributes: str) -> Element:
    """A picture, in the page itself.

    Args:
        content: of the file.
        alt: what it shows.
        kind: ``jpeg`` or ``png``.
        attributes: further ones.
    """
    data = base64.b64encode(content).decode()
    return element("img", src=f"data:image/{kind};base64,{data}", alt=alt, **attributes)


def figure(png: bytes, alt: str, caption: str = "", *, scale: int = 1) -> Element:
    """A plot.

    Args:
        png: of the file.
        alt: what it shows.
        caption: below it; may be empty.
        scale: pixels of the file for one of the page, across.
    """
    # Where a PNG file says so; a page that knows sizes does not jump while it loads.
    width, height = (int.from_bytes(png[at : at + 4], "big") // scale for at in (16, 20))
    shown = image(
        png,
        alt,
        kind="png",
        class_="plot" if width < _WIDE else "plot wide",
        width=str(width),
        height=str(height),
    )
    return element("figure", shown, *([element("figcaption", caption)] if caption else []))


def table_element(table: Table) -> Element:
    """A table and its note; it scrolls where the screen is too narrow for it."""

    def row(tag: str, cells: Iterable[str]) -> Element:
        return element(
            "tr",
            *(
                element(tag, cell, **({"class_": "text"} if place < table.n_text else {}))
                for place, cell in enumerate(cells)
            ),
        )

    made = element(
        "table",
        *([element("caption", table.title)] if table.title else []),
        element("thead", row("th", table.columns)),
        element("tbody", *(row("td", cells) for cells in table.rows)),
    )
    note = [element("p", table.note, class_="note")] if table.note else []
    return element("section", element("div", made, class_="scroll"), *note)


def report_page(
    title: str,
    facts: str,
    tables: Iterable[Table],
    plots: Mapping[str, bytes],
    notes: Iterable[str] = (),
) -> bytes:
    """Figures as a page: tables, then plots, then what to know of them.

    Args:
        title: of what was measured.
        facts: a line of how.
        tables: of figures.
        plots: PNG bytes by file name.
        notes: a line each.
    """
    shown = [
        figure(png, f"Plot: {name.removesuffix('.png').replace('-', ' ')}")
        for name, png in plots.items()
    ]
    listed = [element("li", note) for note in notes]
    return page(
        title,
        [
            element("p", facts, class_="faint"),
            *(table_element(table) for table in tables),
            *([element("div", *shown, class_="plots")] if shown else []),
            *([element("h2", "Notes"), element("ul", *listed)] if listed else []),
        ],
    )


def markdown_page(text: str, plots: Mapping[str, bytes]) -> bytes:
    """A report in Markdown as a page.

    Args:
        text: with a heading of the first level. HTML in it stays text; links to other files, which
            the page does not come with, become text.
        plots: PNG bytes by file name, as the text names them, in whatever folder.
    """
    rendered = MarkdownIt("commonmark", {"html": False}).enable("table").render(_visible(text))
    # Every & and < of the text is escaped in there: it cannot declare an entity.
    root = fromstring(f"<section>{rendered}</section>")  # noqa: S314
    heading = root.find("h1")
    title = "" if heading is None else "".join(heading.itertext())
    if heading is not None:
        root.remove(heading)
    for parent in list(root.iter()):
        parent[:] = [_of_page(child, plots) for child in parent]
    return page(title, root)


def _of_page(child: Element, plots: Mapping[str, bytes]) -> Element:
    """An element of a report in Markdown, as a page that is whole in itself has it."""
    if child.tag == "table":
        # The policy allows no styles: alignment becomes a class.
        for cell in child.iter():
            if cell.tag in {"th", "td"}:
                to_the_right = cell.attrib.pop("style", "") == "text-align:right"
                if not to_the_right:
                    cell.set("class", "text")
                elif len("".join(cell.itertext())) > _LONG:
                    cell.set("class", "folds")
        return element("div", child, class_="scroll")
    if child.tag == "p" and len(child) == 1 and child[0].tag == "img":
        name = child[0].get("src", "").rpartition("/")[2]
        return figure(plots[name], child[0].get("alt", "")) if name in plots else child
    if child.tag == "a" and not child.get("href", "").startswith(("https:", "http:")):
        child.attrib.clear()
    return child


def _visible(text: str) -> str:
    r"""The text without control characters, which HTML and XML do not know.

    >>> _visible("red\x1b[31m\n")
    'red�[31m\n'
    """
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
