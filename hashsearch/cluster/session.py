"""Joining a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket

import ray

from hashsearch.errors import ClusterError, first_line

__all__ = ["join_cluster"]

_PATIENCE = 5.0  # seconds


def join_cluster(address: str | None = None) -> None:
    """Join a Ray cluster, unless this process is in one already.

    Nothing is told to anybody outside: usage statistics and the dashboard are off.

    Args:
        address: of its head node, as ``ray start`` prints it; None: that of ``RAY_ADDRESS``, else
            of the cluster that runs on this machine, else one of this machine alone is started,
            which ends with this process.

    Raises:
        ClusterError: there is none at this address.
    """
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = address or os.environ.get("RAY_ADDRESS") or None
    try:
        _check_reachable(address)
        ray.init(
            address=address,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"cannot join the Ray cluster at {address or 'this machine'}: {first_line(error)}; "
            "start one with `ray start --head`, name another address, or set the RAY_AUTH_MODE "
            "that it has"
        ) from error


def _check_reachable(address: str | None) -> None:
    """Find out at once that nobody listens; Ray tries for minutes.

    Raises:
        OSError: nobody does.
    """
    host, parted, port = (address or "").rpartition(":")
    if parted and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
