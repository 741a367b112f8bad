"""A sharded gallery on a Ray cluster: what a search costs there, and what a killed node costs.

``python -m hashsearch.bench.cluster`` starts a cluster of three nodes on this machine, each with
processes of its own, and measures:

- ``overheads``: single queries, of shards that lie with Ray actors and of the same shards searched
  by this process, in turns.
- ``kills``: queries are asked one after another, and a node that holds a shard is killed (SIGKILL
  of all its processes), or its actors alone are. Every answer is compared with
  that of one file.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hashsearch.bench.growth import drawn_codes
from hashsearch.bench.latency import search_times, summarise
from hashsearch.bench.machine import describe_machine, publish
from hashsearch.bench.scale import format_scale, parse_scale
from hashsearch.cluster.local import LocalCluster, local_cluster
from hashsearch.cluster.search import RayGallery
from hashsearch.datasets import fashion_mnist
from hashsearch.encoder import Encoder
from hashsearch.errors import GalleryError, ShardMissing
from hashsearch.gallery import Gallery, search_threads, write_shards

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hashsearch.gallery import Matches

__all__ = ["kill", "learned_gallery", "overheads"]

_MODULE = "hashsearch.bench.cluster"
_ENCODER = "fashion-mnist"
_NODES = 3
_QUERIES = 1000
_WARM_UP = 50  # queries
_ROUNDS = 3
_BEFORE = 2.0  # seconds of queries before the node is killed
_QUIET = 5.0  # seconds of right answers, in which a shard is taken to be back
_LONGEST = 120.0  # seconds
_KILLS = {"node": LocalCluster.kill, "actors": LocalCluster.kill_actors}
_CASES = (("node", 1, 60.0), ("node", 1, 1.0), ("node", 2, 60.0), ("actors", 1, 60.0))


def learned_gallery(n_items: int) -> Gallery:
    """A gallery of codes drawn from those of the sample's images."""
    encoder = Encoder.load(_ENCODER)
    base = encoder.encode_pixels(fashion_mnist.sample().images[:, None])
    codes = drawn_codes("learned", n_items, base, encoder.n_bits, seed=0)
    return Gallery.from_codes(codes, n_bits=encoder.n_bits, fine_bits=encoder.fine_bits)


def overheads(whole: Gallery, shards: Sequence[int], *, n_queries: int = _QUERIES) -> Any:
    """The times of single queries, by Ray actors and in this process.

    Args:
        whole: the gallery, in one piece. This process is in a Ray cluster.
        shards: into how many it is parted, each in turn.
        n_queries: how many a round.

    Returns:
        One record a number of shards: ``shards``; for ``ray``, ``in_process`` (the same shards) and
        ``one_file`` what :func:`hashsearch.bench.latency.summarise` says; and of Ray less the same
        shards in process ``overhead_p50_us`` and ``overhead_p99_us``. Ready for JSON.

    Raises:
        GalleryError: an answer differs from that of one file.
    """
    queries = _some(whole, n_queries)
    records = []
    with tempfile.TemporaryDirectory(prefix="hashsearch-cluster-") as place, search_threads(1):
        for number in shards:
            folder = Path(place) / f"{number}.shards"
            galleries = {
                "one_file": whole,
                "in_process": write_shards([whole], folder, number),
                "ray": RayGallery.open(folder, deadline=_LONGEST),
            }
            expected = _told(whole.nearest(queries))
            for name, gallery in galleries.items():
                if _told(gallery.nearest(queries)) != expected:
                    raise GalleryError(f"{folder}: {name} answers otherwise; report it")
                search_times(gallery.nearest, queries[:_WARM_UP])
            times: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in galleries}
            for _ in range(_ROUNDS):
                for name, gallery in galleries.items():
                    times[name].append(search_times(gallery.nearest, queries))
            found = {name: summarise(np.concatenate(each)) for name, each in times.items()}
            less = {
                f"overhead_{point}_us": round(
                    found["ray"][f"{point}_us"] - found["in_process"][f"{point}_us"], 1
                )
                for point in ("p50", "p99")
            }
            records.append({"shards": number, **found, **less})
    return records


def kill(
    cluster: LocalCluster,
    whole: Gallery,
    n_shards: int,
    *,
    what: str,
    replicas: int,
    deadline: float,
    n_queries: int = _QUERIES,
) -> dict[str, Any]:
    """Kill a node that holds a shard, or its actors, while queries are asked one after another.

    Args:
        cluster: of whose nodes one that holds a shard is struck.
        whole: the gallery, in one piece.
        n_shards: into how many it is parted.
        what: is killed, the ``node`` or the ``actors`` on it.
        replicas: actors of each shard.
        deadline: seconds that a query may take.
        n_queries: different ones, which are asked again and again.

    Returns:
        The arguments, and ``queries`` asked, ``wrong`` answers (other than one file's), ``errors``
        (queries that got none), ``recovery_s``, from the kill to the first answer of a query that
        was asked after it, ``errors_after_recovery``, and ``longest_s``, the longest query.
        Ready for JSON.
    """
    queries = _some(whole, n_queries)
    expected = [_told(whole.nearest(queries[[place]])) for place in range(len(queries))]
    with tempfile.TemporaryDirectory(prefix="hashsearch-cluster-") as place:
        folder = Path(place) / "killed.shards"
        write_shards([whole], folder, n_shards)
        gallery = RayGallery.open(folder, replicas=replicas, deadline=deadline)
        held = {node for nodes in gallery.nodes() for node in nodes}
        victim = next(node for node in cluster.workers if node in held)
        killed: list[float] = []

        def at_once() -> None:
            killed.append(time.monotonic())
            _KILLS[what](cluster, victim)

        killer = threading.Timer(_BEFORE, at_once)
        killer.start()
        asked = wrong = errors = late_errors = 0
        recovered: float | None = None
        longest = 0.0
        began = time.monotonic()
        while time.monotonic() < (recovered or began + _LONGEST) + _QUIET:
            start = time.monotonic()
            number = asked % len(queries)
            asked += 1
            try:
                wrong += _told(gallery.nearest(queries[[number]])) != expected[number]
            except ShardMissing:
                errors += 1
                late_errors += recovered is not None
            else:
                if recovered is None and killed and start > killed[0]:
                    recovered = time.monotonic()
            longest = max(longest, time.monotonic() - start)
        killer.join()
    return {
        "killed": what,
        "shards": n_shards,
        "replicas": replicas,
        "deadline_s": deadline,
        "queries": asked,
        "wrong": wrong,
        "errors": errors,
        "recovery_s": None if recovered is None else round(recovered - killed[0], 2),
        "errors_after_recovery": late_errors,
        "longest_s": round(longest, 2),
    }


def _some(gallery: Gallery, count: int) -> npt.NDArray[np.uint8]:
    """Codes of the gallery to ask with, from all over it."""
    return gallery.codes(np.linspace(0, len(gallery) - 1, count).astype(np.int64))


def _told(matches: Matches) -> tuple[list[Any], ...]:
    return (
        matches.offsets.tolist(),
        matches.ids,
        matches.distance.tolist(),
        matches.full_distance.tolist(),
        matches.ball_size.tolist(),
    )


def _main() -> None:
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    parser.add_argument("--items", default="1m")
    parser.add_argument("--shards", default="1,4")
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    options = parser.parse_args()
    whole = learned_gallery(parse_scale(options.items))
    shards = [int(number) for number in options.shards.split(",")]
    machine = describe_machine()
    machine["packages"]["ray"] = metadata.version("ray")
    report: dict[str, Any] = {"machine": machine, "items": len(whole), "nodes": _NODES}
    with local_cluster(_NODES):
        report["overheads"] = overheads(whole, shards)
    report["kills"] = []
    for what, replicas, deadline in _CASES:
        with local_cluster(_NODES) as cluster:
            report["kills"].append(
                kill(cluster, whole, max(shards), what=what, replicas=replicas, deadline=deadline)
            )
    publish(report, _lines(report), options.out)


def _lines(report: dict[str, Any]) -> Iterator[str]:
    for each in report["overheads"]:
        yield (
            f"{format_scale(report['items'])} items, {each['shards']} shards: p50 / p99 "
            + ", ".join(
                f"{name} {each[name]['p50_us']:,.0f} / {each[name]['p99_us']:,.0f} us"
                for name in ("ray", "in_process", "one_file")
            )
        )
    for each in report["kills"]:
        yield (
            f"{each['killed']} killed, {each['shards']} shards of {each['replicas']} actors, "
            f"deadline {each['deadline_s']:g} s: {each['queries']:,} queries, "
            f"{each['wrong']} wrong, {each['errors']} errors, recovery {each['recovery_s']} s, "
            f"{each['errors_after_recovery']} errors after it, "
            f"the longest query {each['longest_s']} s"
        )


if __name__ == "__main__":
    _main()
