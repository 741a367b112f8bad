"""A Ray cluster of several nodes on one machine, each with its own processes, to try things on."""

from __future__ import annotations

import os
import re
import signal
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.cluster_utils import Cluster

from hashsearch.cluster.connection import join_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LocalCluster", "local_cluster"]

_STORE_BYTES = 80 << 20  # of each node's shared memory; about the least that Ray takes
# What Ray calls the processes of actors and tasks; but those of agents, which keep the node going.
_WORKING = re.compile(rb"ray::(?!\w*Agent)")


class LocalCluster:
    """The nodes; :func:`local_cluster` starts them."""

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self._workers: dict[str, Any] = {}

    @property
    def address(self) -> str:
        """For others to join it."""
        return str(self._cluster.address)

    @property
    def workers(self) -> list[str]:
        """The ids of the nodes that live, but for the first, which this process is on."""
        return [*self._workers]

    def kill(self, node: str) -> None:
        """Kill all processes of a node (SIGKILL), as if its machine had lost its power."""
        worker = self._workers.pop(node)
        raylet = _raylet(worker)
        working = _children(raylet)
        _kill([raylet, *working])
        self._cluster.remove_node(worker, allow_graceful=False)

    def kill_actors(self, node: str | None = None) -> None:
        """Kill the processes of the actors on a node, or on all; the nodes themselves go on."""
        of = self._cluster.list_all_nodes() if node is None else [self._workers[node]]
        children = [child for each in of for child in _children(_raylet(each))]
        _kill([child for child in children if _WORKING.match(_title(child))])

    def add(self) -> str:
        """Start another node, and tell its id."""
        worker = self._cluster.add_node(num_cpus=1, object_store_memory=_STORE_BYTES)
        self._workers[worker.node_id] = worker
        return str(worker.node_id)


@contextmanager
def local_cluster(nodes: int = 3) -> Iterator[LocalCluster]:
    """Start a cluster, and be in it while the body runs.

    Args:
        nodes: how many, at least 1; this process is on the first.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
        },
    )
    try:
        local = LocalCluster(cluster)
        for _ in range(nodes - 1):
            local.add()
        join_cluster(cluster.address)
        yield local
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]


def _raylet(node: Any) -> int:
    """The id of the process that starts the others of a node."""
    (raylet,) = node.all_processes["raylet"]
    return int(raylet.process.pid)


def _children(process: int) -> list[int]:
    listed = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii")
    return [int(child) for child in listed.split()]


def _title(process: int) -> bytes:
    """What a process calls itself; nothing where it is gone."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _kill(processes: list[int]) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
