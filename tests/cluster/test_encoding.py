"""Builds on a real Ray cluster write what one machine writes, whoever dies meanwhile."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from PIL import Image

from hashsearch.datasets.folder import folder_items
from hashsearch.datasets.item import Item
from hashsearch.encoder import Encoder
from hashsearch.errors import ClusterError
from hashsearch.gallery.build import build, build_file

pytest.importorskip("ray", reason="pip install '.[ray]'")

from ray.cluster_utils import Cluster

from hashsearch.cluster import encoding
from hashsearch.cluster.connection import connected
from hashsearch.cluster.encoding import encode_on_ray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:::ray")]

DRAWN, LINKED = 20, 75  # different photos, and how often each is there: six chunks
SIDE = 1000
MEMORY = 100 << 20  # of each node's object store
BAD = 3


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes of one core, each with its own processes."""
    made = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "num_gpus": 1,  # which ONNX Runtime, as tests install it, cannot use
            "include_dashboard": False,
            "object_store_memory": MEMORY,
        },
    )
    for _ in range(2):
        made.add_node(num_cpus=1, object_store_memory=MEMORY)
    yield made
    made.shutdown()  # type: ignore[no-untyped-call]  # as Ray has it


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of large photos of two types, and three files that are none."""
    folder = tmp_path_factory.mktemp("large") / "catalogue"
    rng = np.random.default_rng(1)
    for kind in ("a", "b"):
        (folder / kind).mkdir(parents=True)
    for number in range(DRAWN):
        small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        first = folder / "ab"[number % 2] / f"{number:02d}-00.jpg"
        small.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(first)
        for again in range(1, LINKED):
            first.with_name(f"{number:02d}-{again:02d}.jpg").hardlink_to(first)
    (folder / "a" / "junk.jpg").write_bytes(b"junk")
    whole = (folder / "a" / "00-00.jpg").read_bytes()
    (folder / "a" / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    Path(os.fsdecode(bytes(folder / "b") + b"/\xff.jpg")).write_bytes(whole)
    return folder


@pytest.fixture(scope="module")
def alone(catalogue: Path, encoder_file: Path) -> Path:
    """The gallery file that one machine makes of them."""
    path = catalogue.parent / "alone" / "gallery.h5"
    path.parent.mkdir()
    encoder = Encoder.load(encoder_file)
    result = build_file(path, folder_items(catalogue), lambda known: encoder, source=str(catalogue))
    assert len(result.skipped) == BAD
    return path


@pytest.fixture
def build_and(
    cluster: Cluster, catalogue: Path, encoder_file: Path, tmp_path: Path, monkeypatch: Any
) -> Callable[[Callable[[], bool]], Path]:
    """Build them on the cluster; something is done half-way, as soon as it can be."""

    def built(do: Callable[[], bool]) -> Path:
        monkeypatch.setattr(encoding, "_CHUNK", 16)  # so that much is still to be done
        path, encoder = tmp_path / "gallery.h5", Encoder.load(encoder_file)
        items = folder_items(catalogue)
        counted, done_at = 0, 0

        def advance(count: int) -> None:
            nonlocal counted, done_at
            counted += count
            if not done_at and do():
                done_at = counted

        with connected(cluster.address):
            result = build_file(
                path,
                items,
                lambda known: encoder,
                source=str(catalogue),
                engine=encode_on_ray,
                on_progress=advance,
            )
        assert 0 < done_at < len(items)
        assert counted == len(items)
        assert len(result.skipped) == BAD
        return path

    return built


def content(path: Path) -> dict[str, Any]:
    """All that a gallery file holds, but when it was made."""
    found: dict[str, Any] = {}

    def note(name: str, part: h5py.HLObject) -> None:
        values = part[()].tobytes() if isinstance(part, h5py.Dataset) else None
        found[name] = ({key: str(value) for key, value in part.attrs.items()}, values)

    with h5py.File(path) as file:
        note("/", file)
        file.visititems(note)
    assert found["/"][0].pop("created")
    return found


def working(node: Any) -> list[int]:
    """The processes on a node that encode: children of its own."""
    (raylet,) = node.all_processes["raylet"]
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == raylet.process.pid and b"MapWorker" in (place / "cmdline").read_bytes():
                found.append(int(place.name))
    return found


def test_a_cluster_writes_what_one_machine_writes(
    run: Any, cluster: Cluster, catalogue: Path, alone: Path, encoder_file: Path
) -> None:
    path, here = alone.with_name("cluster.h5"), alone.with_name("here.h5")
    command = ["build-index", catalogue, "-e", encoder_file, "--json"]
    there = run(*command, "--name", path, "--ray", cluster.address)
    assert there.status == 1  # three are skipped
    assert there.json["items"] == DRAWN * LINKED
    assert content(path) == content(alone)
    assert there.json["skipped"] == run(*command, "--name", here).json["skipped"]
    listed, as_here = path.with_suffix(".skipped.csv"), here.with_suffix(".skipped.csv")
    assert listed.read_bytes() == as_here.read_bytes()


def test_a_worker_is_killed(
    cluster: Cluster, alone: Path, build_and: Callable[[Callable[[], bool]], Path]
) -> None:
    def kill() -> bool:
        victims = [process for node in cluster.worker_nodes for process in working(node)]
        if victims:
            os.kill(victims[0], signal.SIGKILL)
        return bool(victims)

    assert content(build_and(kill)) == content(alone)


def test_a_node_is_lost(
    cluster: Cluster, alone: Path, build_and: Callable[[Callable[[], bool]], Path]
) -> None:
    cluster.add_node(num_cpus=1, object_store_memory=MEMORY)  # there are three again afterwards

    def remove() -> bool:
        victims = [node for node in cluster.worker_nodes if working(node)]
        if victims:
            cluster.remove_node(victims[0], allow_graceful=False)
        return bool(victims)

    assert content(build_and(remove)) == content(alone)


def test_the_command_itself_is_killed_and_given_again(
    cluster: Cluster, catalogue: Path, alone: Path, encoder_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "gallery.h5"
    command = [sys.executable, "-m", "hashsearch", "build-index", str(catalogue), "--name"]
    command += [str(path), "-e", str(encoder_file), "--ray", cluster.address]
    kept = Path(f"{path}.encoded-wal")
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as driver:
        while driver.poll() is None and not (kept.exists() and kept.stat().st_size > 100_000):
            time.sleep(0.01)
        driver.kill()
    assert driver.returncode == -signal.SIGKILL
    assert not path.exists()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "of the images were encoded before it was stopped" in done.stderr
    assert content(path) == content(alone)


def test_only_what_changed_is_encoded_anew(
    run: Any, cluster: Cluster, photos: Path, encoder_file: Path, tmp_path: Path
) -> None:
    items = folder_items(photos)
    encoder = Encoder.load(encoder_file)
    before = build(items[:-2], encoder).gallery
    with connected(cluster.address):
        after = build(items[1:], encoder, known=before, engine=encode_on_ray)
    assert (after.encoded, after.added, after.changed, after.removed) == (2, 2, 0, 1)
    assert after.gallery.ids() == build(items[1:], encoder).gallery.ids()


def test_images_that_are_no_files_are_sent(cluster: Cluster, encoder_file: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 28, 28), dtype=np.uint8)
    items = [Item(f"{number:02d}", image) for number, image in enumerate(pixels)]
    encoder = Encoder.load(encoder_file)
    with connected(cluster.address):
        there = build(items, encoder, engine=encode_on_ray).gallery
    here = build(items, encoder).gallery
    assert there.ids() == here.ids()
    assert there.codes().tobytes() == here.codes().tobytes()


def test_a_folder_that_the_others_do_not_see_is_told(
    cluster: Cluster, photos: Path, encoder_file: Path
) -> None:
    with (photos / "dark" / "0.png").open("rb") as file, connected(cluster.address):
        opened = fcntl.fcntl(file, fcntl.F_DUPFD, 900)  # a number that no worker has in use
        mine = f"/proc/self/fd/{opened}"
        with pytest.raises(ClusterError, match=f"cannot read {mine}, which this machine can"):
            build([Item("a", mine)], Encoder.load(encoder_file), engine=encode_on_ray)
        os.close(opened)


def test_a_file_that_nobody_sees_is_skipped(
    cluster: Cluster, photos: Path, encoder_file: Path
) -> None:
    items = [*folder_items(photos), Item("gone", "/nowhere/gone.png", path="/nowhere/gone.png")]
    encoder = Encoder.load(encoder_file)
    with connected(cluster.address):
        result = build(items, encoder, engine=encode_on_ray)
    assert result.skipped == build(items, encoder).skipped
    assert [each.id for each in result.skipped] == ["gone"]


def test_another_release_is_told(
    cluster: Cluster, photos: Path, encoder_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "__version__", "0.0.1")
    with (
        connected(cluster.address),
        pytest.raises(ClusterError, match=r"and the build was started with 0\.0\.1; install one"),
    ):
        build(folder_items(photos), Encoder.load(encoder_file), engine=encode_on_ray)


class Strange:
    """An image of a kind that no worker knows: they cannot import this module."""


def test_a_worker_that_lacks_a_module_is_told(cluster: Cluster, encoder_file: Path) -> None:
    items = [Item("a", Strange())]  # type: ignore[arg-type]  # what the test is about
    told = r"cannot encode \(ModuleNotFoundError: No module named 'test_encoding'\); install there"
    with connected(cluster.address), pytest.raises(ClusterError, match=told):
        build(items, Encoder.load(encoder_file), engine=encode_on_ray)


def test_no_cluster_is_told_at_once(run: Any, photos: Path, encoder_file: Path) -> None:
    refused = run("build-index", photos, "-e", encoder_file, "--ray", "127.0.0.1:1")
    assert "no Ray cluster at 127.0.0.1:1 (" in refused.error
    strange = run("build-index", photos, "-e", encoder_file, "--ray", "nowhere")
    assert "no Ray cluster at nowhere (" in strange.error


def test_a_folder_is_no_address(run: Any, photos: Path) -> None:
    outcome = run("build-index", "--ray", photos)
    assert outcome.status == 2
    assert "give --ray behind PHOTOS" in outcome.err
