from __future__ import annotations

import socket

import pytest

from hashsearch.errors import ClusterError

pytest.importorskip("ray")
from hashsearch.cluster.connection import join_cluster


def test_a_cluster_that_is_not_there_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    address = f"127.0.0.1:{port}"
    message = rf"no Ray cluster at {address} \(.*refused\); start one with `ray start"
    with pytest.raises(ClusterError, match=message):
        join_cluster(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ClusterError, match=message):
        join_cluster()
