"""Reads pages as browsers do."""

from __future__ import annotations

from html.parser import HTMLParser


class Read(HTMLParser):
    """What a browser would see: tags with their attributes, and texts."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def assert_whole(read: Read) -> None:
    """Nothing is fetched or run, and the policy would see to it."""
    (policy,) = [
        meta["content"]
        for meta in read.all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert {tag for tag, _ in read.tags}.isdisjoint({"script", "link", "iframe", "object"})
    assert all(str(shown["src"]).startswith("data:image/") for shown in read.all("img"))
    names = {name for _, attributes in read.tags for name in attributes}
    assert not [name for name in names if name.startswith("on") or name == "style"]
