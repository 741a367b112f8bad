"""A Ray cluster to work on: one that runs already, or this machine alone."""

from __future__ import annotations

import logging
import os
import socket
import sys
import warnings
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

import ray

from hashsearch.errors import ClusterError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LOCAL", "connected", "join_cluster"]

LOCAL = "local"
"""The address of a cluster that is started on this machine, and ends with its use."""

_PATIENCE = 5.0  # seconds; Ray itself asks a head that is not there for five minutes

# Read by Ray when it starts. Nothing about its use is sent to anybody, and it does not tell on the
# screen what it tells as exceptions, too.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")


@contextmanager
def connected(address: str = LOCAL) -> Iterator[None]:
    """Be connected to a Ray cluster while the body runs.

    What Ray says of nodes that are lost it says on standard error here, where it would be on
    standard output. A process that is connected already uses that cluster, and stays so.

    Args:
        address: of the head, ``host:port``; ``auto``: the cluster that runs on this machine, or
            that ``RAY_ADDRESS`` names; :data:`LOCAL`.

    Raises:
        ClusterError: there is no cluster at the address, or none can be started.
    """
    if ray.is_initialized():
        yield
        return
    join_cluster(address)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        ray.shutdown()


def join_cluster(address: str | None = None) -> None:
    """Join a Ray cluster for as long as this process lives, unless it is in one already.

    Args:
        address: as for :func:`connected`; None: that of ``RAY_ADDRESS``, else of the cluster that
            runs on this machine, else one of this machine alone is started.

    Raises:
        ClusterError: as of :func:`connected`.
    """
    if ray.is_initialized():
        return
    address = address or os.environ.get("RAY_ADDRESS") or None
    try:
        _check_head(address or "")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray's own, of what it will do otherwise one day
            ray.init(
                address=address,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
            )
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"no Ray cluster at {address or 'this machine'} ({first_line(error)}); start one with "
            "`ray start --head`, name the host:port that it says, or set the RAY_AUTH_MODE that it "
            "has"
        ) from error


def _check_head(address: str) -> None:
    """See that somebody listens at a ``host:port``.

    Raises:
        OSError, OverflowError: nobody does, or it is none.
    """
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
