"""Other search engines over the same codes: each does what it can of the same tasks."""

from hashsearch.bench.peers.comparison import PEER_SETS, compare_with_peers

__all__ = ["PEER_SETS", "compare_with_peers"]
