"""What is asked and answered, as the OpenAPI document describes it.

Requests are checked by these; answers are not, as they are made by the code beside them. The tests
hold answers against these.
"""

# No `from __future__ import annotations`: Pydantic reads the annotations.

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic.json_schema import SkipJsonSchema

__all__ = [
    "Galleries",
    "Gallery",
    "Health",
    "Item",
    "Match",
    "Problem",
    "Query",
    "Sample",
    "Samples",
    "SearchAnswer",
    "SearchForm",
    "Timing",
]

# What the gallery of the sample answers.
_GALLERY = "fashion-mnist"
_STAMP = "9e71623431b8639d"
_LABEL_COUNT = {"label": "Dress", "items": 1000}
_QUERY = {"id": "test-00075", "label": "Dress", "code": "000e00007b2563be2c2ec8b4"}
_ITEM = {
    "id": "test-03432",
    "label": "Dress",
    "code": "000e00006b3462aa2c2fe8be",
    "columns": {},
    "image": f"/api/items/test-03432/image?gallery={_GALLERY}",
    "thumbnail": f"/api/items/test-03432/thumbnail?gallery={_GALLERY}",
}
_MATCH = {**_ITEM, "distance": 0, "full_distance": 10, "in_ball": True}
_TIMING = {"decode": 0.0, "encode": 0.0, "search": 0.629, "total": 0.756}
_FACTS = {
    "name": _GALLERY,
    "items": 10000,
    "n_bits": 32,
    "fine_bits": 64,
    "distinct_codes": 99,
    "labels": [_LABEL_COUNT],
    "columns": [],
    "has_thumbnails": True,
    "encoder": _GALLERY,
    "takes_images": True,
    "generation": _STAMP,
    "created": "2026-11-25T20:36:01+00:00",
}
_SAMPLE = {name: _ITEM[name] for name in ("id", "label", "thumbnail")}
_ANSWER = {
    "gallery": _GALLERY,
    "generation": _STAMP,
    "query": _QUERY,
    "radius": 2,
    "k": 1,
    "ball_size": 977,
    "searched": 9999,
    "matches": [_MATCH],
    "histogram": [724, 176, 77, 34, 80, 1164, 7738, 6, *[0] * 25],
    "missing_shards": [],
    "timing_ms": _TIMING,
}


def _like(example: dict[str, Any]) -> ConfigDict:
    """That the OpenAPI document shows this of a schema."""
    return ConfigDict(json_schema_extra={"examples": [example]})


_QUERIES = ("image", "id", "code")
_Text = str | SkipJsonSchema[None]  # a form has no null: a field is there or not


class SearchForm(BaseModel):
    """What a search is asked: exactly one of `image`, `id` and `code`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "oneOf": [{"required": [name]} for name in _QUERIES],
            "examples": [{"id": "test-00075", "k": 10, "radius": 2}],
        },
    )

    image: Annotated[bytes | None, WithJsonSchema({"type": "string", "format": "binary"})] = Field(
        None, description="An image file: JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF."
    )
    id: _Text = Field(None, description="An item of the gallery; it is not among its own matches.")
    code: _Text = Field(
        None, description="A whole code in hexadecimal digits, as an answer gives it."
    )
    gallery: _Text = Field(None, description="Its name; else the first of /api/galleries.")
    k: int = Field(24, ge=1, le=1000, description="How many matches.")
    radius: int = Field(
        2, ge=0, description="Of the ball, in bits of the semantic code; at most all of them."
    )
    label: list[str] = Field([], description="Only items with one of these labels.")
    where: list[str] = Field(
        [],
        description="Only items that have this in a column, as column=value; of several values of "
        "one column one is enough.",
    )
    distinct: bool = Field(False, description="Of each article the best match alone.")

    @model_validator(mode="after")
    def _check(self) -> "SearchForm":
        given = [name for name in _QUERIES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of image, id and code, not {' and '.join(given) or 'none'}")
        for text in self.where:
            if not text.partition("=")[0] or "=" not in text:
                raise ValueError(f"where takes column=value, not {text[:100]!r}")
        return self

    def conditions(self) -> dict[str, list[str]]:
        """The values that are asked for, by column."""
        conditions = {"label": [*self.label]} if self.label else {}
        for text in self.where:
            column, _, value = text.partition("=")
            conditions.setdefault(column, []).append(value)
        return conditions


class Problem(BaseModel):
    """What went wrong."""

    model_config = _like({"detail": "no item 'x' in the gallery fashion-mnist"})

    detail: str = Field(description="One line that says the mend.")


class LabelCount(BaseModel):
    """A label, and how many items have it."""

    model_config = _like(_LABEL_COUNT)

    label: str
    items: int


class Gallery(BaseModel):
    """What a gallery holds."""

    model_config = _like(_FACTS)

    name: str
    items: int
    n_bits: int = Field(description="Of the semantic code.")
    fine_bits: int = Field(description="Of the fine code behind it.")
    distinct_codes: int = Field(description="How many different semantic codes its items have.")
    labels: list[LabelCount]
    columns: list[str]
    has_thumbnails: bool
    encoder: str | None = Field(description="Its name, if it is known.")
    takes_images: bool = Field(description="Whether that encoder is at hand.")
    generation: str = Field(description="Another text when the gallery has changed.")
    created: str = Field(description="ISO 8601, UTC.")


class Galleries(BaseModel):
    """All galleries, the default first."""

    model_config = _like({"galleries": [_FACTS]})

    galleries: list[Gallery]


class Item(BaseModel):
    """An item of a gallery."""

    model_config = _like(_ITEM)

    id: str
    label: str | None
    code: str = Field(
        description="Its whole code in hexadecimal digits: bit i is "
        "`(byte[i // 8] >> (i % 8)) & 1`; the semantic code comes first."
    )
    columns: dict[str, str | None]
    image: str | None = Field(description="Address of its image.")
    thumbnail: str | None = Field(description="Address of a small one.")


class Match(Item):
    """An item that was found."""

    model_config = _like(_MATCH)

    distance: int = Field(description="Of the semantic codes, in bits.")
    full_distance: int = Field(description="Of the whole codes, in bits.")
    in_ball: bool = Field(description="Whether the distance is at most the radius.")


class Query(BaseModel):
    """What was searched with."""

    model_config = _like(_QUERY)

    id: str | None
    label: str | None
    code: str


class Timing(BaseModel):
    """Milliseconds that the service took."""

    model_config = _like(_TIMING)

    decode: float = Field(description="From the file to what the network sees.")
    encode: float = Field(description="From that to the code.")
    search: float = Field(description="From the code to the matches, and what is told of them.")
    total: float


class SearchAnswer(BaseModel):
    """What was found, best first; the answer is exact, unless it says what is missing."""

    model_config = _like(_ANSWER)

    gallery: str
    generation: str
    query: Query
    radius: int
    k: int
    ball_size: int = Field(description="Items within the radius.")
    searched: int = Field(
        description="Items after filters, without the one that is the query, which is in no count."
    )
    matches: list[Match]
    histogram: list[int] = Field(description="Items at distance 0, 1, ... n_bits.")
    missing_shards: list[str] = Field(
        description="Shards whose items are not among the matches, though they are counted: of a "
        "service that may answer without (`--partial-ok`), else always none."
    )
    timing_ms: Timing


class Sample(BaseModel):
    """An item to try a search with."""

    model_config = _like(_SAMPLE)

    id: str
    label: str | None
    thumbnail: str | None


class Samples(BaseModel):
    """Some items, of different labels; the same ones until the gallery changes."""

    model_config = _like({"samples": [_SAMPLE]})

    samples: list[Sample]


class Health(BaseModel):
    """That the service is up."""

    model_config = _like({"status": "ok", "version": "0.1.0", "galleries": 1})

    status: str
    version: str
    galleries: int


EXAMPLES: dict[str, dict[str, Any]] = {
    "like a photo": {
        "description": "`curl -F image=@img.jpg -F k=10`: the bytes of the file are the value.",
        "value": {"image": "@img.jpg", "k": 10},
    },
    "like an item": {"value": {"id": "test-00075", "k": 10, "radius": 2}},
    "like an item, filtered": {"value": {"id": "test-00075", "label": ["Dress", "Coat"]}},
    "like a code": {"value": {"code": _QUERY["code"], "distinct": True}},
}
