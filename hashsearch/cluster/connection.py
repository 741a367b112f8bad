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

__all__ = ["LOCAL", "connected"]

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
    _check_head(address)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray's own, of what it will do otherwise one day
            ray.init(
                address=address,
                include_dashboard=False if address == LOCAL else None,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
            )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"no Ray cluster at {address} ({first_line(error)}); start one with `ray start --head`"
        ) from error
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        ray.shutdown()


def _check_head(address: str) -> None:
    """See that somebody listens at a ``host:port``."""
    host, colon, port = address.rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster at {address} ({first_line(error)}); give the host:port that "
            "`ray start --head` says on its head"
        ) from error
