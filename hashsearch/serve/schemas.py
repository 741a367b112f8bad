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

_QUERIES = ("image", "id", "code")
_Text = str | SkipJsonSchema[None]  # a form has no null: a field is there or not


class SearchForm(BaseModel):
    """What a search is asked: exactly one of `image`, `id` and `code`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"oneOf": [{"required": [name]} for name in _QUERIES]},
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

    detail: str = Field(description="One line that says the mend.")


class LabelCount(BaseModel):
    """A label, and how many items have it."""

    label: str
    items: int


class Gallery(BaseModel):
    """What a gallery holds."""

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

    galleries: list[Gallery]


class Item(BaseModel):
    """An item of a gallery."""

    id: str
    label: str | None
    code: str = Field(
        description="Its whole code in hexadecimal digits: bit i is "
        "`(byte[i // 8] >> (i % 8)) & 1`; the semantic code comes first."
    )
    path: str | None = Field(description="Where its image lay when the gallery was built.")
    columns: dict[str, str | None]
    image: str | None = Field(description="Address of its image.")
    thumbnail: str | None = Field(description="Address of a small one.")


class Match(Item):
    """An item that was found."""

    distance: int = Field(description="Of the semantic codes, in bits.")
    full_distance: int = Field(description="Of the whole codes, in bits.")
    in_ball: bool = Field(description="Whether the distance is at most the radius.")


class Query(BaseModel):
    """What was searched with."""

    id: str | None
    label: str | None
    code: str


class Timing(BaseModel):
    """Milliseconds that the service took."""

    decode: float = Field(description="From the file to what the network sees.")
    encode: float = Field(description="From that to the code.")
    search: float = Field(description="From the code to the matches, and what is told of them.")
    total: float


class SearchAnswer(BaseModel):
    """What was found, best first; the answer is exact, unless it says what is missing."""

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

    id: str
    label: str | None
    thumbnail: str | None


class Samples(BaseModel):
    """Some items, of different labels; the same ones until the gallery changes."""

    samples: list[Sample]


class Health(BaseModel):
    """That the service is up."""

    status: str
    version: str
    galleries: int


EXAMPLES: dict[str, dict[str, Any]] = {
    "like an item": {"value": {"id": "test-00075", "k": 10, "radius": 2}},
    "like an item, filtered": {"value": {"id": "test-00075", "label": ["Dress", "Coat"]}},
}
