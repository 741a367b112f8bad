"""Where a service is found."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from hashsearch.serve import address, listen, network_address


def test_what_listens_everywhere_is_found_from_the_network_too() -> None:
    with listen("0.0.0.0", 0) as listening:  # noqa: S104 - what is tested
        assert address(listening).startswith("http://127.0.0.1:")
        found = network_address(listening)
        if found is not None:  # a machine may have no network
            parts = urlsplit(found)
            assert parts.hostname != "127.0.0.1"
            socket.create_connection((parts.hostname, parts.port), timeout=10).close()


def test_what_listens_at_one_address_is_found_there_alone() -> None:
    with listen("127.0.0.1", 0) as listening:
        assert network_address(listening) is None
