"""Pictures of search results, for people who would rather look than read."""

from hashsearch.pictures.contact import MOST_QUERIES, SheetRow, contact_sheet, n_on_sheet
from hashsearch.pictures.groups import PER_GROUP, group_sheet
from hashsearch.pictures.image import match_image, png_bytes
from hashsearch.pictures.terminal import Graphics, preview, terminal_graphics

__all__ = [
    "MOST_QUERIES",
    "PER_GROUP",
    "Graphics",
    "SheetRow",
    "contact_sheet",
    "group_sheet",
    "match_image",
    "n_on_sheet",
    "png_bytes",
    "preview",
    "terminal_graphics",
]
