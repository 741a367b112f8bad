"""Galleries as other programs read and write them: NumPy files in a folder, or Parquet.

A folder holds ``codes.npy`` ``uint8 (n, code_bytes)``, ``ids.npy`` and ``labels.npy`` and
``paths.npy`` (texts, "" where an item has none; absent where none has), and ``gallery.json``
with the bit counts and the encoder. A Parquet file has the columns ``id``, ``label``,
``path`` and ``code`` (fixed-size binary), and the same JSON as its metadata. Items stand in the
order of the gallery. Thumbnails and indexes stay behind.
"""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hashsearch.codes import check_codes
from hashsearch.errors import ArgumentError, DatasetError, ExtraMissing
from hashsearch.files import write_atomically
from hashsearch.gallery.gallery import Gallery

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["export_gallery", "import_gallery"]

_PARQUET = ".parquet"
_RECORD = "gallery.json"
_FACTS = ("n_bits", "fine_bits", "encoder_name", "encoder_fingerprint")
_TEXTS = {"ids": "id", "labels": "label", "paths": "path"}


def export_gallery(gallery: Gallery, path: Path) -> list[Path]:
    """Write codes, ids, labels and paths for other programs.

    Args:
        gallery: any.
        path: a file that ends in ``.parquet``, else a folder for ``.npy`` files; what it
            holds of these is replaced.

    Returns:
        The files.

    Raises:
        ExtraMissing: Parquet needs pyarrow.
        ArgumentError: the folder or the disk refuses it.
    """
    record = json.dumps({name: getattr(gallery, name) for name in _FACTS}, indent=1)
    all_texts: dict[str, Sequence[str | None]] = {
        "ids": gallery.ids(),
        "labels": gallery.labels(),
        "paths": gallery.paths(),
    }
    texts = {
        name: values
        for name, values in all_texts.items()
        if any(value is not None for value in values)
    }
    if path.suffix == _PARQUET:
        write_atomically(path, _parquet_bytes(gallery.codes(), texts, record))
        return [path]
    arrays: dict[str, npt.NDArray[Any]] = {
        "codes": gallery.codes(),
        **{name: np.array([value or "" for value in values]) for name, values in texts.items()},
    }
    for name in _TEXTS:
        (path / f"{name}.npy").unlink(missing_ok=True)
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        write_atomically(path / f"{name}.npy", buffer.getvalue())
    write_atomically(path / _RECORD, record.encode())
    return [*(path / f"{name}.npy" for name in arrays), path / _RECORD]


def import_gallery(
    path: Path,
    *,
    n_bits: int | None = None,
    fine_bits: int | None = None,
    ids: Path | None = None,
    labels: Path | None = None,
) -> Gallery:
    """A gallery of codes from a file, in memory.

    Args:
        path: what :func:`export_gallery` wrote, a folder or a Parquet file; or any ``.npy``
            file of codes, ``uint8 (n, (n_bits + fine_bits) // 8)``.
        n_bits: length of the semantic code in bits; None: as recorded beside the codes.
        fine_bits: length of the fine code in bits; None: as recorded, else what is left.
        ids: an ``.npy`` file of texts, one an item; None: those beside the codes, else "0", ...
        labels: as ``ids``; "": none.

    Raises:
        DatasetError: a file is missing, cannot be read, or holds something else.
        ArgumentError: codes without bit counts; see :meth:`Gallery.from_codes`.
        CodesError: codes of another shape, dtype or width.
        ExtraMissing: Parquet needs pyarrow.
    """
    if path.suffix == _PARQUET:
        codes, texts, record = _read_parquet(path)
    elif path.is_dir():
        codes = _read_npy(path / "codes.npy")
        files = {name: path / f"{name}.npy" for name in _TEXTS}
        texts = {name: _read_texts(file) for name, file in files.items() if file.exists()}
        record = _read_record(path / _RECORD)
    else:
        codes, texts, record = _read_npy(path), {}, {}
    for name, file in (("ids", ids), ("labels", labels)):
        if file is not None:
            texts[name] = _read_texts(file)
    n_bits = record.get("n_bits") if n_bits is None else n_bits
    if n_bits is None:
        raise ArgumentError(f"nothing beside {path} says how its codes divide; give --bits")
    if fine_bits is None:
        fine_bits = record.get("fine_bits")
    if fine_bits is None:
        fine_bits = max(8 * codes.shape[-1] - n_bits, 0) if codes.ndim else 0
    columns: dict[str, Any] = {
        "ids": texts.get("ids"),
        **{
            name: [value or None for value in texts[name]]
            for name in ("labels", "paths")
            if name in texts
        },
    }
    return Gallery.from_codes(
        check_codes(codes, n_bits, fine_bits),
        n_bits=n_bits,
        fine_bits=fine_bits,
        encoder_name=record.get("encoder_name"),
        encoder_fingerprint=record.get("encoder_fingerprint"),
        **columns,
    )


def _read_npy(path: Path) -> npt.NDArray[Any]:
    try:
        # allow_pickle: a pickle can run any program.
        loaded: Any = np.load(path, allow_pickle=False)
    except OSError as error:
        why = error.strerror or "it is no .npy file"
        raise DatasetError(f"cannot read {path}: {why}; give an .npy file") from None
    except (ValueError, EOFError) as error:
        raise DatasetError(f"cannot read {path}: {error}; save it with numpy.save") from None
    if not isinstance(loaded, np.ndarray):
        loaded.close()
        raise DatasetError(f"{path} is an archive; give an .npy file of one array")
    return loaded


def _read_texts(path: Path) -> list[str]:
    array = _read_npy(path)
    if array.ndim != 1 or array.dtype.kind != "U":
        raise DatasetError(
            f"{path} must hold texts (n,), not {array.dtype} {array.shape}; "
            "save numpy.array(list_of_str)"
        )
    texts: list[str] = array.tolist()
    return texts


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {error}; export the gallery again") from None
    return _checked_record(record, path)


def _checked_record(record: object, path: Path) -> dict[str, Any]:
    kinds = dict(zip(_FACTS, (int, int, str | None, str | None), strict=True))
    if not isinstance(record, dict) or not all(
        isinstance(record.get(name), kind) for name, kind in kinds.items()
    ):
        raise DatasetError(f"{path} is no record of a gallery; export the gallery again")
    return record


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet  # noqa: PLC0415 - an extra, and slow to import
    except ModuleNotFoundError as error:
        raise ExtraMissing(
            "Parquet needs the package pyarrow: install hashsearch with its extra, "
            "`pip install '.[parquet]'` in its clone"
        ) from error
    return pyarrow


def _parquet_bytes(
    codes: npt.NDArray[np.uint8], texts: dict[str, Sequence[str | None]], record: str
) -> bytes:
    pa = _pyarrow()
    columns = {_TEXTS[name]: pa.array(values, pa.string()) for name, values in texts.items()}
    columns["code"] = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(codes.shape[1]), len(codes), [None, pa.py_buffer(codes)]
    )
    table = pa.table(columns).replace_schema_metadata({"hashsearch": record})
    buffer = io.BytesIO()
    pa.parquet.write_table(table, buffer)
    return buffer.getvalue()


def _read_parquet(
    path: Path,
) -> tuple[npt.NDArray[np.uint8], dict[str, list[str]], dict[str, Any]]:
    pa = _pyarrow()
    try:
        table = pa.parquet.read_table(path)
        code = table.column("code").combine_chunks()
        metadata = (table.schema.metadata or {}).get(b"hashsearch", b"{}")
        texts = {
            name: table.column(column).to_pylist()
            for name, column in _TEXTS.items()
            if column in table.column_names
        }
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DatasetError(f"cannot read {path}: {error}") from None
    if not pa.types.is_fixed_size_binary(code.type) or code.null_count:
        raise DatasetError(f"{path}: column code must be fixed-size binary, one an item")
    width = code.type.byte_width
    flat = np.frombuffer(code.buffers()[1], np.uint8, len(code) * width, code.offset * width)
    record = json.loads(metadata)
    return flat.reshape(-1, width), texts, _checked_record(record, path) if record else {}
