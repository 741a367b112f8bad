"""Galleries as other programs read and write them: NumPy files in a folder, or Parquet.

A folder holds ``codes.npy`` ``uint8 (n, code_bytes)``, ``ids.npy`` and ``labels.npy`` and
``paths.npy`` (texts, "" where an item has none; absent where none has), and ``gallery.json``
with the bit counts, the encoder and the names of the other files, among them ``column-1.npy`` and
so on, of the further columns; it is written last, so where it is missing the export was stopped. A
Parquet file has the columns ``id``, ``label``, ``path`` and ``code`` (fixed-size binary), the
further ones under their own names, and the same facts as its metadata. Items stand in the order of
the gallery. Thumbnails and indexes stay behind.
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hashsearch.codes import check_codes
from hashsearch.errors import ArgumentError, DatasetError, EncoderMismatch, ExtraMissing
from hashsearch.files import make_folder, write_atomically
from hashsearch.gallery.content import LABEL
from hashsearch.gallery.gallery import Gallery

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hashsearch.encoder import Encoder

__all__ = ["export_gallery", "import_gallery"]

_PARQUET = ".parquet"
_RECORD = "gallery.json"
_FACTS = ("n_bits", "fine_bits", "encoder_name", "encoder_fingerprint")
_TEXTS = {"ids": "id", "labels": "label", "paths": "path"}


def export_gallery(gallery: Gallery, path: Path) -> list[Path]:
    """Write codes, ids, labels, paths and further columns for other programs.

    Args:
        gallery: any.
        path: a file that ends in ``.parquet``, else a folder for ``.npy`` files, which an
            export before may have filled.

    Returns:
        The files.

    Raises:
        ExtraMissing: Parquet needs pyarrow.
        ArgumentError: the folder or the disk refuses it, or it holds such files of others.
    """
    facts = {name: getattr(gallery, name) for name in _FACTS}
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
    columns = {name: gallery.column(name) for name in gallery.column_names if name != LABEL}
    if path.suffix.lower() == _PARQUET:
        write_atomically(path, _parquet_bytes(gallery.codes(), texts, columns, facts))
        return [path]
    file_of = {name: f"column-{number}" for number, name in enumerate(columns, 1)}
    named = {**texts, **{file_of[name]: values for name, values in columns.items()}}
    arrays: dict[str, npt.NDArray[Any]] = {
        "codes": gallery.codes(),
        **{name: np.array([value or "" for value in values]) for name, values in named.items()},
    }
    make_folder(path)
    _remove_export(path)
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        write_atomically(path / f"{name}.npy", buffer.getvalue())
    record = {**facts, "files": [f"{name}.npy" for name in arrays], "columns": file_of}
    write_atomically(path / _RECORD, json.dumps(record, indent=1).encode())
    return [*(path / file for file in record["files"]), path / _RECORD]


def _remove_export(folder: Path) -> None:
    """Make room for an export: of one that is there, the record goes first."""
    files = [folder / f"{name}.npy" for name in ("codes", *_TEXTS)]
    files += folder.glob("column-*.npy")
    theirs = [file.name for file in files if file.exists()]
    if theirs and not (folder / _RECORD).exists():
        raise ArgumentError(
            f"{folder} holds {', '.join(theirs)}, and not from an export that was finished; "
            "remove what is of no use there, or export to another folder"
        )
    (folder / _RECORD).unlink(missing_ok=True)
    for file in files:
        file.unlink(missing_ok=True)


def import_gallery(
    path: Path,
    *,
    n_bits: int | None = None,
    fine_bits: int | None = None,
    ids: Path | None = None,
    labels: Path | None = None,
    encoder: Encoder | None = None,
) -> Gallery:
    """A gallery of codes from a file, in memory.

    Args:
        path: what :func:`export_gallery` wrote, a folder or a Parquet file; or any ``.npy``
            file of codes, ``uint8 (n, (n_bits + fine_bits) // 8)``.
        n_bits: length of the semantic code in bits; None: the encoder's, or as recorded.
        fine_bits: length of the fine code in bits; None: what is left.
        ids: an ``.npy`` file of texts, one an item; None: those beside the codes, else "0", ...
        labels: as ``ids``; "": none.
        encoder: the one that made the codes; None: as recorded, if its codes divide so.

    Raises:
        DatasetError: a file is missing, cannot be read, or holds something else.
        ArgumentError: codes without bit counts; see :meth:`Gallery.from_codes`.
        CodesError: codes of another shape, dtype or width.
        EncoderMismatch: an encoder whose codes are others than the recorded one's.
        ExtraMissing: Parquet needs pyarrow.
    """
    further: dict[str, list[str]] = {}
    if path.suffix.lower() == _PARQUET:
        codes, texts, further, record = _read_parquet(path)
    elif path.is_dir():
        record = _read_record(path / _RECORD)
        codes = _read_npy(path / "codes.npy")
        texts = {
            name: _read_texts(path / f"{name}.npy")
            for name in _TEXTS
            if f"{name}.npy" in record["files"]
        }
        further = {
            name: _read_texts(path / f"{file}.npy")
            for name, file in record.get("columns", {}).items()
        }
    else:
        codes, texts, record = _read_npy(path), {}, {}
    for name, file in (("ids", ids), ("labels", labels)):
        if file is not None:
            texts[name] = _read_texts(file)
    if encoder is not None:
        known = record.get("encoder_fingerprint")
        if known not in {None, encoder.fingerprint}:
            raise EncoderMismatch(
                f"{path} holds codes of encoder {known[:12]}, not of {encoder.fingerprint[:12]}"
            )
        record = {name: getattr(encoder, name, None) for name in _FACTS}
        record.update(encoder_name=encoder.name, encoder_fingerprint=encoder.fingerprint)
    if n_bits is None:
        n_bits = record.get("n_bits")
    if n_bits is None:
        raise ArgumentError(f"nothing beside {path} says how its codes divide; give --bits")
    if fine_bits is None:
        fine_bits = max(8 * codes.shape[-1] - n_bits, 0) if codes.ndim else 0
    if (n_bits, fine_bits) != (record.get("n_bits"), record.get("fine_bits")):
        record = {}
    columns: dict[str, Any] = {
        "ids": texts.get("ids"),
        **{name: _or_none(texts[name]) for name in ("labels", "paths") if name in texts},
        "columns": {name: _or_none(values) for name, values in further.items()},
    }
    return Gallery.from_codes(
        check_codes(codes, n_bits, fine_bits),
        n_bits=n_bits,
        fine_bits=fine_bits,
        encoder_name=record.get("encoder_name"),
        encoder_fingerprint=record.get("encoder_fingerprint"),
        **columns,
    )


def _or_none(values: Sequence[str | None]) -> list[str | None]:
    return [value or None for value in values]


def _read_npy(path: Path) -> npt.NDArray[Any]:
    try:
        with path.open("rb") as file:
            # allow_pickle: a pickle can run any program.
            loaded: Any = np.load(file, allow_pickle=False)
    except OSError as error:
        why = error.strerror or "it is no .npy file"
        raise DatasetError(f"cannot read {path}: {why}; give an .npy file") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
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
        raise DatasetError(
            f"{path} is missing, so the export was stopped; export the gallery again, or give "
            "codes.npy itself"
        ) from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {error}; export the gallery again") from None
    checked = _checked_record(record, path)
    if not isinstance(checked.get("files"), list):
        raise DatasetError(f"{path} names no files; export the gallery again")
    return checked


def _checked_record(record: object, path: Path) -> dict[str, Any]:
    kinds = dict(zip(_FACTS, (int, int, str | None, str | None), strict=True))
    if (
        not isinstance(record, dict)
        or not all(isinstance(record.get(name), kind) for name, kind in kinds.items())
        or not isinstance(record.get("columns", {}), dict)
    ):
        raise DatasetError(f"{path} is no record of a gallery; export the gallery again")
    return record


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet  # noqa: PLC0415 - an extra, and slow to import
    except ModuleNotFoundError as error:
        raise ExtraMissing.of("Parquet", error.name, "parquet") from error
    return pyarrow


def _parquet_bytes(
    codes: npt.NDArray[np.uint8],
    texts: dict[str, Sequence[str | None]],
    further: dict[str, list[str | None]],
    facts: dict[str, Any],
) -> bytes:
    pa = _pyarrow()
    columns = {_TEXTS[name]: pa.array(values, pa.string()) for name, values in texts.items()}
    columns["code"] = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(codes.shape[1]), len(codes), [None, pa.py_buffer(codes)]
    )
    columns.update({name: pa.array(values, pa.string()) for name, values in further.items()})
    record = json.dumps({**facts, "columns": {name: name for name in further}})
    table = pa.table(columns).replace_schema_metadata({"hashsearch": record})
    buffer = io.BytesIO()
    pa.parquet.write_table(table, buffer)
    return buffer.getvalue()


def _read_parquet(
    path: Path,
) -> tuple[npt.NDArray[np.uint8], dict[str, list[str]], dict[str, list[str]], dict[str, Any]]:
    """Codes, texts by what they are, further columns by name, and the record."""
    pa = _pyarrow()
    try:
        table = pa.parquet.read_table(path)
        code = table.column("code").combine_chunks()
        record = json.loads((table.schema.metadata or {}).get(b"hashsearch", b"null"))
        record = {} if record is None else _checked_record(record, path)
        texts = {
            name: table.column(column).to_pylist()
            for name, column in _TEXTS.items()
            if column in table.column_names
        }
        further = {
            name: table.column(column).to_pylist()
            for name, column in record.get("columns", {}).items()
        }
    except OSError as error:
        why = error.strerror or "it is no Parquet file"
        raise DatasetError(f"cannot read {path}: {why}; give a Parquet file") from None
    except KeyError:
        raise DatasetError(f"{path} has no column code; name it so: fixed-size binary") from None
    except (pa.ArrowException, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {error}; write it again") from None
    if not pa.types.is_fixed_size_binary(code.type) or code.null_count:
        raise DatasetError(f"{path}: column code must be fixed-size binary, one an item")
    for column in {*_TEXTS.values()} & {*table.column_names}:
        kind = table.column(column)
        if not pa.types.is_string(kind.type) or (column == "id" and kind.null_count):
            raise DatasetError(f"{path}: column {column} must be strings, of ids one an item")
    width = code.type.byte_width
    flat = np.frombuffer(code.buffers()[1], np.uint8, len(code) * width, code.offset * width)
    return flat.reshape(-1, width), texts, further, record
