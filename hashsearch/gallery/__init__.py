"""Galleries: what can be found, in memory and in files, and the exact search for it."""

from hashsearch.gallery.file import DatasetCheck, verify, writing
from hashsearch.gallery.gallery import Gallery
from hashsearch.gallery.hamming_index import INDEX_KINDS
from hashsearch.gallery.matches import Matches

__all__ = ["INDEX_KINDS", "DatasetCheck", "Gallery", "Matches", "verify", "writing"]
