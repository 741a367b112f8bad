"""How much is decoded at once."""

from __future__ import annotations

import io
import threading

import numpy as np
from serving import encoded

from hashsearch.serve.memory import Decoding

SIXTY = encoded(np.zeros((6, 10), np.uint8))


def test_an_image_waits_until_there_is_room() -> None:
    decoding = Decoding(100)
    inside = threading.Event()

    def decode() -> None:
        with decoding.room(SIXTY):
            inside.set()

    waiting = threading.Thread(target=decode)
    with decoding.room(SIXTY):
        with decoding.room(encoded(np.zeros((4, 10), np.uint8))):  # fits beside it
            waiting.start()
        assert not inside.wait(0.2)
    assert inside.wait(10)
    waiting.join()


def test_an_image_that_is_larger_than_the_room_is_alone_in_it() -> None:
    decoding = Decoding(50)
    for _ in range(2):  # and leaves it
        with decoding.room(SIXTY):
            pass


def test_what_is_no_image_takes_no_room() -> None:
    decoding = Decoding(60)
    with decoding.room(SIXTY), decoding.room(b"GIF89a, or not"), decoding.room(b""):
        pass


def test_a_stream_stays_where_it_is() -> None:
    stream = io.BytesIO(SIXTY)
    with Decoding(100).room(stream):
        assert stream.read() == SIXTY
