"""Hours of good and bad requests to the web service, while its gallery is replaced.

The answers to searches by id are compared with those of the library, of either generation.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import numpy as np

from hashsearch.bench.machine import held_by
from hashsearch.bench.service import (
    FORM,
    QUERIES,
    RADIUS,
    K,
    Server,
    answer,
    connect,
    form,
    query_images,
    served,
)
from hashsearch.gallery.distinct import nearest_others

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hashsearch.gallery import Gallery

__all__ = ["endurance"]

_CLIENTS = 8
_BAD_SHARE = 0.2
_BROKEN_SHARE = 0.2  # of those, that end before they are sent whole
_TOO_LARGE = 11 << 20  # bytes; more than the service takes
_SWAP_S = 10.0  # between two generations


def endurance(
    gallery: Gallery,
    minutes: float,
    *,
    folder: Path | None = None,
    swap_s: float = _SWAP_S,
    every: float = 1.0,
) -> dict[str, Any]:
    """Ask for so long, well and badly, while the gallery is replaced.

    Args:
        gallery: its first generation; the others have it and one without a hundredth of its items
            in turns.
        minutes: how long.
        folder: where the gallery lies meanwhile; None: a temporary one.
        swap_s: seconds between two generations.
        every: seconds between two looks at the memory.

    Returns:
        ``good`` requests, how many of them ``failed`` (another status than 200, or another answer
        than the library's), ``bad`` ones, how many were ``not_refused`` (another status than 4xx),
        ``swaps``, ``generations`` that were seen in answers, and of the server's own memory
        ``own_bytes``, a look each, and ``growth``: the median of the last quarter of them over
        that of the second. Ready for JSON.
    """
    chance = random.Random(0)  # noqa: S311 - nothing to guard
    ids = chance.sample(gallery.ids(), min(QUERIES, len(gallery) // 2))
    gone = chance.sample(sorted({*gallery.ids()} - {*ids}), max(len(gallery) // 100, 1))
    other = gallery.without(gone).indexed()
    own_bytes: list[int] = []
    swaps = 0
    with served(gallery, folder) as (server, path):
        load = _Load(server, (gallery, other), ids)
        with ThreadPoolExecutor(_CLIENTS) as pool:
            asking = [pool.submit(load.ask, seed) for seed in range(_CLIENTS)]
            started = swapped = time.monotonic()
            while time.monotonic() < started + 60 * minutes:
                time.sleep(every)
                own_bytes.append(held_by(server.process).get("own_bytes", 0))
                if time.monotonic() - swapped >= swap_s:
                    (other, gallery)[swaps % 2].save(path)
                    swaps += 1
                    swapped = time.monotonic()
            load.stop.set()
            for asker in asking:
                asker.result()
    quarter = max(len(own_bytes) // 4, 1)
    second = own_bytes[quarter : 2 * quarter] or own_bytes
    return {
        "items": len(gallery),
        "minutes": minutes,
        **{name: load.tally[name] for name in ("good", "failed", "bad", "not_refused")},
        "swaps": swaps,
        "generations": len(load.generations),
        "own_bytes": own_bytes,
        "growth": round(float(np.median(own_bytes[-quarter:]) / np.median(second)), 3),
    }


def _found(gallery: Gallery, id_: str) -> list[str]:
    """What a search by id must find."""
    rows = gallery.content.rows_of([id_])
    (found,) = nearest_others(gallery, gallery.codes(rows), K, RADIUS, own=rows)
    return found.ids


class _Load:
    """Asks well and badly until it is told to stop."""

    def __init__(self, server: Server, galleries: Sequence[Gallery], ids: Sequence[str]) -> None:
        self._server = server
        self.query_images = query_images()
        self._expected = {id_: [_found(gallery, id_) for gallery in galleries] for id_ in ids}
        self._labels = list(galleries[0].label_counts())
        self._lock = threading.Lock()
        self.stop = threading.Event()
        self.tally: Counter[str] = Counter()
        self.generations: set[str] = set()

    def ask(self, seed: int) -> None:
        """Requests of every kind, as chance has it."""
        chance = random.Random(seed)  # noqa: S311 - nothing to guard
        connection = connect(self._server)
        while not self.stop.is_set():
            is_good = chance.random() >= _BAD_SHARE
            try:
                done = (self._well if is_good else self._badly)(connection, chance)
            except (OSError, http.client.HTTPException):
                done = False
            with self._lock:
                self.tally["good" if is_good else "bad"] += 1
                self.tally["failed" if is_good else "not_refused"] += not done
            if not (is_good and done):
                connection.close()  # the server may have; the next request opens it again
        connection.close()

    def _well(self, connection: http.client.HTTPConnection, chance: random.Random) -> bool:
        """Whether a good search is answered, and as the library would."""
        id_ = chance.choice([*self._expected])
        body, right = chance.choice(
            [
                (form({"id": id_}), self._expected[id_]),
                (form({"id": id_, "label": chance.choice(self._labels)}), None),
                (form({}, chance.choice(self.query_images)), None),
            ]
        )
        status, content = answer(connection, body)
        if status != HTTPStatus.OK:
            return False
        document = json.loads(content)
        self.generations.add(document["generation"])
        return right is None or [match["id"] for match in document["matches"]] in right

    def _badly(self, connection: http.client.HTTPConnection, chance: random.Random) -> bool:
        """Whether a bad search is refused; one that nobody sends to its end, whether it can be."""
        image = chance.choice(self.query_images)
        body = chance.choice(
            [
                form({}, image[: len(image) // 2]),
                form({}, chance.randbytes(2000)),
                form({}, bytes(_TOO_LARGE)),
                form({"id": "nobody"}),
                form({"id": "0" * 10_000}),
                form({"k": "-1"}, image),
                form({}, image)[:-40],
                b"",
            ]
        )
        if chance.random() < _BROKEN_SHARE:
            connection.putrequest("POST", "/api/search")
            for name, value in {**FORM, "Content-Length": str(2 * len(body) + 1)}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            return True
        status, _ = answer(connection, body)
        return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
