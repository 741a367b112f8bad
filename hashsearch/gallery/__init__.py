"""Galleries: what can be found, in memory and in files, and the exact search for it.

Why every answer is exact:

1. The distinct semantic codes around a query are found by comparing it with all of them, or by a
   method whose certified radius covers what is asked for (:mod:`.hamming_index`). If too few items
   are in the ball for the best ``k``, the radius grows until there are enough; then all codes
   within it are known, ties among them.
2. The items of a code are one slice of the arrays, so those of the codes found are all items within
   the radius: nothing is looked up, nothing can be lost (:mod:`.content`).
3. Items are ordered by one integer key and by id, a strict order, so there is one answer
   (:mod:`.ranking`). The best few are cut from it by counting, not by sampling.
4. The arrays are those that were built: every byte is under a checksum, which is compared before an
   array is used, and before FAISS or HDF5 is handed anything (:mod:`.file`, :mod:`.seal`).

The tests hold every way to search against brute force in plain NumPy, over random and bunched codes
of many lengths; ``hashsearch bench`` does so again with the codes that it times.
"""

from hashsearch.gallery.exchange import export_gallery, import_gallery
from hashsearch.gallery.faiss_indexes import INDEX_KINDS
from hashsearch.gallery.file import DatasetCheck
from hashsearch.gallery.gallery import Gallery, changing
from hashsearch.gallery.hamming_index import SEARCHES
from hashsearch.gallery.matches import Matches
from hashsearch.gallery.sharding import verify, write_shards
from hashsearch.gallery.shards import ShardedGallery
from hashsearch.gallery.threads import search_threads
from hashsearch.gallery.writer import Writer, writing

__all__ = [
    "INDEX_KINDS",
    "SEARCHES",
    "DatasetCheck",
    "Gallery",
    "Matches",
    "ShardedGallery",
    "Writer",
    "changing",
    "export_gallery",
    "import_gallery",
    "search_threads",
    "verify",
    "write_shards",
    "writing",
]
