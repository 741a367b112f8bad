"""The service among strangers, slow clients, and galleries that change under it."""

from __future__ import annotations

import platform
import signal
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from PIL import Image
from serving import Server, encoded, make_gallery, pictures, serving
from tiny_encoder import encoder_bytes

from hashsearch.bench.machine import held_by
from hashsearch.encoder import Encoder
from hashsearch.gallery import Gallery
from hashsearch.serve import listen, network_address

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FORM = {"content-type": "multipart/form-data; boundary=b"}
PLAIN = b'--b\r\nContent-Disposition: form-data; name="id"\r\n\r\nplain\r\n--b--\r\n'


@pytest.fixture
def folder(tmp_path: Path, encoder_file: Path) -> Path:
    make_gallery(tmp_path, encoder_file).save(tmp_path / "indexes" / "shop.h5")
    return tmp_path


def search(client: httpx.Client, **headers: str) -> httpx.Response:
    return client.post("/api/search", content=PLAIN, headers={**FORM, **headers})


def connected(server: Server) -> socket.socket:
    address = server.client.base_url
    return socket.create_connection((address.host, address.port), timeout=10)


def begun(server: Server, length: int = len(PLAIN)) -> socket.socket:
    """A connection on which the head of a search was sent, and half of its body."""
    connection = connected(server)
    head = f"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n"
    head += f"Content-Type: {FORM['content-type']}\r\n\r\n"
    connection.sendall(head.encode() + PLAIN[:30])
    return connection


def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens within seconds."""
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def inside(server: Server) -> float:
    lines = server.client.get("/metrics").text.splitlines()
    (line,) = [line for line in lines if line.startswith("hashsearch_requests_inside ")]
    return float(line.split()[1])


def test_only_who_has_the_key_is_answered(folder: Path) -> None:
    with serving(folder, key="open sesame") as server:
        client = server.client
        for path in ("/api/galleries", "/api/items/plain/thumbnail", "/metrics", "/api/nothing"):
            for given in ("", "Bearer wrong", "Bearer é", "open sesame"):
                answer = client.get(path, headers={b"authorization": given.encode()})
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
                assert "Authorization: Bearer KEY" in answer.json()["detail"]
        assert search(client).status_code == 401
        for scheme in ("Bearer", "bearer"):
            key = {"authorization": f"{scheme} open sesame"}
            assert client.get("/api/galleries", headers=key).status_code == 200
        # The page asks for the key, so it needs none itself.
        for path in ("/", "/health", "/openapi.json"):
            assert client.get(path).status_code == 200
        assert "sesame" not in server.log.read_text()


def test_other_sites_ask_only_if_they_may(folder: Path) -> None:
    options = ("--cors", "https://shop.example", "--allow-host", "api.example")
    with serving(folder, *options, key="sesame") as server:
        server.client.headers["authorization"] = "Bearer sesame"
        for origin, allowed in (("https://shop.example", True), ("https://evil.example", False)):
            answer = search(server.client, origin=origin)
            assert answer.status_code == 200
            assert (answer.headers.get("access-control-allow-origin") == origin) == allowed
            asked = {
                "origin": origin,
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization",
            }
            before = httpx.options(f"{server.client.base_url}/api/search", headers=asked)
            assert (before.status_code == 200) == allowed
            # Of what a browser says is of another site, none is worked at.
            told = search(server.client, **{"origin": origin, "sec-fetch-site": "cross-site"})
            assert told.status_code == (200 if allowed else 403)
        same = search(server.client, **{"sec-fetch-site": "same-origin"})
        assert same.status_code == 200
        # Such a page may show pictures, which browsers ask for without saying who does.
        assert same.headers["cross-origin-resource-policy"] == "cross-origin"
        assert server.client.get("/health", headers={"host": "api.example"}).status_code == 200
        assert server.client.get("/health", headers={"host": "evil.example"}).status_code == 400


def test_who_serves_a_network_is_told_where_its_phones_find_it(folder: Path) -> None:
    with listen("0.0.0.0", 0) as listening:  # noqa: S104 - what is tested
        if network_address(listening) is None:
            pytest.skip("this machine has no network")
    with serving(folder, "--host", "0.0.0.0") as server:  # noqa: S104
        assert server.process.stdout is not None
        line = server.process.stdout.readline()
        assert line.startswith("From other machines and phones of this network: http://")
        assert httpx.get(f"{line.split()[-1]}/health").status_code == 200


def test_who_finds_the_queue_full_is_told_to_come_again(folder: Path) -> None:
    with serving(folder, "--queue", "2") as server:
        with begun(server), begun(server):
            until(lambda: inside(server) == 2)
            answer = search(server.client)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert "busy" in answer.json()["detail"]
            # What needs no worker is answered all the same.
            assert server.client.get("/health").status_code == 200
        # Clients that go away are forgotten without a word.
        until(lambda: inside(server) == 0)
        assert search(server.client).status_code == 200
        assert "Traceback" not in server.log.read_text()


CHUNKED = (
    b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
)


def worked(server: Server) -> float:
    """Seconds of a core that the service has taken."""
    lines = server.client.get("/metrics").text.splitlines()
    (line,) = [line for line in lines if line.startswith("process_cpu_seconds_total ")]
    return float(line.split()[1])


def test_a_body_in_chunks_keeps_nobody_waiting(folder: Path) -> None:
    with serving(folder) as server:
        before = worked(server)
        for _ in range(20):
            with connected(server) as connection, suppress(ConnectionError):
                connection.sendall(CHUNKED + b"1\r\nx\r\n" * 100_000)
                connection.recv(1)
            assert server.client.get("/health").status_code == 200
        assert worked(server) - before < 0.2  # to parse a chunk takes 16 us
        with connected(server) as one:
            one.sendall(CHUNKED + b"1\r\nx\r\n")
            answer = b"".join(iter(lambda: one.recv(1 << 16), b""))
            assert answer.startswith(b"HTTP/1.1 411 ")
            assert b"send the size of the body" in answer


def test_a_crowd_is_told_to_come_again(folder: Path) -> None:
    with serving(folder, files=256) as server:
        crowd = [connected(server) for _ in range(140)]
        fresh = httpx.Client(base_url=server.client.base_url, timeout=20)
        for _ in range(3):
            answer = fresh.get("/api/galleries")
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "5"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "too many connections" in answer.json()["detail"]
        assert fresh.get("/health").status_code == 200
        # Still more are closed at once, before the process runs out of files.
        crowd += [connected(server) for _ in range(300)]
        with suppress(ConnectionError):
            assert crowd[-1].recv(1) == b""
        for connection in crowd:
            connection.close()
        until(lambda: fresh.get("/api/galleries").status_code == 200)
        fresh.close()
        log = server.log.read_text()
        assert log.count("too many connections") == 1
        assert "Too many open files" not in log


def test_garbage_leaves_no_line_in_the_log(folder: Path) -> None:
    with serving(folder) as server:
        before = server.log.read_text()
        with connected(server) as garbled:
            garbled.sendall(b"\x16\x03\x01\r\n\r\n")
            assert garbled.recv(1 << 16).startswith(b"HTTP/1.1 400 ")
        for body in (b"no part", PLAIN + b"and more"):
            server.client.post("/api/search", content=body, headers=FORM)
        assert server.log.read_text() == before


def test_of_a_very_large_original_the_thumbnail_is_shown(folder: Path) -> None:
    Image.new("1", (7100, 7100)).save(folder / "photos" / "0.png")
    with serving(folder) as server:
        small = server.client.get("/api/items/plain/thumbnail")
        shown = server.client.get("/api/items/plain/image")
        assert shown.headers["content-type"] == "image/jpeg"
        assert shown.content == small.content


def test_slow_clients_are_not_waited_for(folder: Path) -> None:
    with serving(folder, "--timeout", "0.5") as server:
        with begun(server) as slow:
            answer = b"".join(iter(lambda: slow.recv(1 << 16), b""))  # up to its end
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"send it faster" in answer
        with connected(server) as silent:
            assert silent.recv(1) == b""
        with connected(server) as slow:
            began = time.monotonic()
            with suppress(OSError):  # reset or broken, as it happens
                for _ in range(100):
                    slow.sendall(b"G")
                    time.sleep(0.1)
            assert time.monotonic() - began < 5
        assert search(server.client).status_code == 200


def test_who_does_not_take_an_answer_is_not_waited_for(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2500, 2500, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photos" / "0.png", compress_level=0)
    size = (folder / "photos" / "0.png").stat().st_size
    with serving(folder, "--timeout", "3") as server:
        assert len(server.client.get("/api/items/plain/image").content) == size
        with connected(server) as idle:
            idle.sendall(b"GET /api/items/plain/image HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(6)
            with suppress(ConnectionError):
                while taken := len(idle.recv(1 << 20)):
                    size -= taken
        assert size > 0
        assert search(server.client).status_code == 200


def test_a_request_is_answered_before_the_server_ends(folder: Path) -> None:
    with serving(folder) as server:
        with begun(server) as slow:
            until(lambda: inside(server) == 1)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            assert server.process.poll() is None
            slow.sendall(PLAIN[30:])
            assert slow.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        server.process.wait(10)
        assert "Traceback" not in server.log.read_text()


def test_ctrl_c_ends_it_quietly(folder: Path) -> None:
    with serving(folder) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 0
        assert "Error" not in server.log.read_text()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc gives memory back")
def test_large_images_leave_nothing_in_memory(folder: Path) -> None:
    large = encoded(np.zeros((4000, 4000, 4), np.uint8))  # 64 MB, and copies of it
    with serving(folder) as server:
        assert search(server.client).status_code == 200
        before = held_by(server.process.pid)["own_bytes"]
        for _ in range(3):
            answer = server.client.post("/api/search", files={"image": large})
            assert answer.status_code == 200
        # Without that, three times as much stays; of a thread's heap the end does in any case.
        until(lambda: held_by(server.process.pid)["own_bytes"] < before + (64 << 20))


def generation(server: Server) -> str:
    (facts,) = server.client.get("/api/galleries").json()["galleries"]
    return str(facts["generation"])


def test_a_new_generation_is_served_and_no_request_fails(
    folder: Path, encoder_file: Path, tmp_path: Path
) -> None:
    path = folder / "indexes" / "shop.h5"
    failed: list[int] = []
    done = threading.Event()
    with serving(folder) as server:
        first = generation(server)

        def ask() -> None:
            with httpx.Client(base_url=server.client.base_url, timeout=20) as client:
                while not done.is_set():
                    status = search(client).status_code
                    if status != 200:
                        failed.append(status)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            smaller = Gallery.open(path).without(["copy"])
            smaller.save(path)
            until(lambda: generation(server) != first)
            assert server.client.get("/api/items/copy").status_code == 404
            # A damaged one changes nothing but the log and the counts.
            second = generation(server)
            damaged = tmp_path / "damaged"
            damaged.write_bytes(path.read_bytes()[:-100])
            damaged.replace(path)
            until(lambda: 'outcome="refused"} 1.0' in server.client.get("/metrics").text)
            assert generation(server) == second
            assert "its last generation stays" in server.log.read_text()
            path.unlink()
            time.sleep(1.2)
            assert generation(server) == second
            # The next may be another encoder's, of other bits.
            other = tmp_path / "other.onnx"
            other.write_bytes(encoder_bytes(seed=1))
            make_gallery(tmp_path, other).save(path)
            until(lambda: generation(server) != second)
        finally:
            done.set()
            asking.join()
        image = encoded(pictures()[3])
        answer = server.client.post("/api/search", files={"image": image}).json()
        code = Encoder.load(other).encode(image).tobytes().hex()
        assert answer["query"]["code"] == code
        assert answer["matches"][0]["full_distance"] == 0
        assert failed == []


def test_galleries_of_a_folder_come_when_they_are_there(tmp_path: Path) -> None:
    codes = np.zeros((3, 2), np.uint8)
    gallery = Gallery.from_codes(codes, n_bits=8, fine_bits=8, encoder_name="gone.onnx")
    with serving(tmp_path) as server:
        client = server.client
        assert client.get("/api/galleries").json() == {"galleries": []}
        answer = client.get("/api/samples")
        assert answer.status_code == 404
        assert "build one with `hashsearch build-index`" in answer.json()["detail"]
        gallery.save(tmp_path / "indexes" / "new.h5")
        until(lambda: bool(client.get("/api/galleries").json()["galleries"]))
        (facts,) = client.get("/api/galleries").json()["galleries"]
        assert (facts["name"], facts["takes_images"]) == ("new", False)
        refused = client.post("/api/search", files={"image": encoded(pictures()[0])})
        assert refused.status_code == 422
        assert "search by id or code" in refused.json()["detail"]
        found = client.post("/api/search", files={"code": (None, "0000"), "radius": (None, "0")})
        assert [match["id"] for match in found.json()["matches"]] == ["0", "1", "2"]
        assert "new.h5 cannot be searched by image: " in server.log.read_text()
