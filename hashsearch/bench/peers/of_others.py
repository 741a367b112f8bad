"""Engines other than FAISS: NumPy alone, usearch, LanceDB, Milvus Lite."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hashsearch.bench.peers.system import Built, Codes, Peer, Rows, System, Task, Unable

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["OTHER_PEERS"]

_LINKS = 16  # of an item of the graph
_INSERTED_AT_ONCE = 10_000


def _numpy(codes: Codes, task: Task, folder: Path) -> Built:
    del folder
    width = next(width for width in (8, 4, 2, 1) if codes.shape[1] % width == 0)
    words = np.ascontiguousarray(codes.view(f"u{width}").T)

    def distances(code: Codes) -> Any:
        differing = np.bitwise_count(words ^ code.view(words.dtype)[:, None])
        return differing[0] if len(differing) == 1 else differing.sum(axis=0, dtype=np.int64)

    def search(asked: Codes) -> list[Rows]:
        found = []
        for code in asked:
            distance = distances(code)
            if task.radius is not None:
                found.append(np.flatnonzero(distance <= task.radius))
            else:
                count = min(task.k, len(distance))
                found.append(np.argpartition(distance, count - 1)[:count])
        return found

    return Built([System("", True, search, list, batches=False)], words.nbytes)


def _usearch(codes: Codes, task: Task, folder: Path) -> Built:
    del folder
    if task.radius is not None:
        raise Unable("no search by radius: it ignores the argument")
    from usearch.index import Index  # noqa: PLC0415 - of an extra

    index = Index(ndim=task.n_bits, metric="hamming", dtype="b1", connectivity=_LINKS)
    index.add(np.arange(len(codes), dtype=np.uint64), codes, threads=1)

    def search(asked: Codes, depth: int) -> Any:
        index.expansion_search = depth
        return index.search(asked, task.k, threads=1)

    def rows(answer: Any) -> list[Rows]:
        return [keys.astype(np.int64) for keys in np.atleast_2d(answer.keys)]

    systems = [
        System(f"expansion {depth}", False, partial(search, depth=depth), rows)
        for depth in (16, 64, 256)
    ]
    return Built(systems, int(index.serialized_length))


def _lancedb(codes: Codes, task: Task, folder: Path) -> Built:
    import lancedb  # noqa: PLC0415 - of an extra
    import pyarrow as pa  # noqa: PLC0415 - of an extra

    vectors = pa.FixedSizeListArray.from_arrays(pa.array(codes.ravel()), codes.shape[1])
    items = pa.table({"row": pa.array(np.arange(len(codes))), "vector": vectors})
    table = lancedb.connect(folder).create_table("items", items)

    def search(asked: Codes) -> list[Any]:
        found = []
        for code in asked:
            query = table.search(code).distance_type("hamming")
            if task.radius is not None:
                # Its range is half open.
                query = query.distance_range(0, task.radius + 1).limit(len(codes))
            else:
                query = query.limit(task.k)
            found.append(query.select(["row", "_distance"]).to_arrow())
        return found

    def rows(answer: list[Any]) -> list[Rows]:
        return [found["row"].to_numpy() for found in answer]

    return Built([System("no index", True, search, rows, batches=False)], _bytes_in(folder))


def _milvus(codes: Codes, task: Task, folder: Path) -> Built:
    if task.radius is not None:
        raise Unable("no search by radius without a limit of 16,384 items")
    from milvus_lite.server_manager import server_manager_instance  # noqa: PLC0415 - of an extra
    from pymilvus import DataType, MilvusClient  # noqa: PLC0415 - as above

    path = folder / "milvus.db"
    client = MilvusClient(str(path))
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("code", DataType.BINARY_VECTOR, dim=task.n_bits)
    parameters = client.prepare_index_params()
    parameters.add_index("code", index_type="BIN_FLAT", metric_type="HAMMING")
    client.create_collection("items", schema=schema, index_params=parameters)
    for begin in range(0, len(codes), _INSERTED_AT_ONCE):
        some = codes[begin : begin + _INSERTED_AT_ONCE]
        client.insert(
            "items",
            [{"id": begin + row, "code": code.tobytes()} for row, code in enumerate(some)],
        )
    client.load_collection("items")

    def search(asked: Codes) -> Any:
        return client.search(
            "items",
            [code.tobytes() for code in asked],
            limit=task.k,
            search_params={"metric_type": "HAMMING"},
        )

    def rows(answer: Any) -> list[Rows]:
        return [np.array([hit["id"] for hit in hits], np.int64) for hits in answer]

    def close() -> None:
        client.close()
        # Its server would go on for as long as this process does, on the core of what comes next.
        server_manager_instance.release_server(str(path))

    return Built([System("BIN_FLAT", True, search, rows)], _bytes_in(folder), close)


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


OTHER_PEERS = (
    Peer("NumPy bitwise_count", _numpy, is_basic=True),
    Peer(f"usearch HNSW({_LINKS})", _usearch, packages=("usearch",), most_items=1_000_000),
    Peer("LanceDB", _lancedb, packages=("lancedb", "pyarrow")),
    Peer("Milvus Lite", _milvus, packages=("pymilvus", "milvus_lite"), most_items=1_000_000),
)
