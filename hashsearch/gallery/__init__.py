"""Galleries: what can be found, in memory and in files, and the exact search for it."""

from hashsearch.gallery.exchange import export_gallery, import_gallery
from hashsearch.gallery.faiss_indexes import INDEX_KINDS, search_threads
from hashsearch.gallery.file import DatasetCheck, verify
from hashsearch.gallery.gallery import Gallery, changing
from hashsearch.gallery.hamming_index import SEARCHES
from hashsearch.gallery.matches import Matches
from hashsearch.gallery.writer import Writer, writing

__all__ = [
    "INDEX_KINDS",
    "SEARCHES",
    "DatasetCheck",
    "Gallery",
    "Matches",
    "Writer",
    "changing",
    "export_gallery",
    "import_gallery",
    "search_threads",
    "verify",
    "writing",
]
