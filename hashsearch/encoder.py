"""Encoder: one ``.onnx`` file that turns images into codes.

The file's metadata carries a JSON record of how to feed the network and where it comes
from. ONNX Runtime executes it; nothing is unpickled, and no code beside the standard
operators runs.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image

from hashsearch._onnx_file import DisallowedError, check_model
from hashsearch._trained_ids import are_among
from hashsearch.codes import check_bit_counts, pack_bits
from hashsearch.errors import ArgumentError, EncoderError, first_line
from hashsearch.images import ImageSource, Preprocessing, normalise, to_pixels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["METADATA_KEY", "TRAINED_ON_KEY", "Encoder", "EncoderRecord", "pretrained", "sees_gpu"]

METADATA_KEY = "hashsearch"
"""Where the record stands among the model's metadata properties."""

TRAINED_ON_KEY = "hashsearch.trained-on"
"""Where digests of the ids of the images stand that it learnt from, where it lists them."""

FORMAT_VERSION = 1

_GPU, _PROCESSOR = "CUDAExecutionProvider", "CPUExecutionProvider"

# 32 colour images of 224 pixels a side: what a network keeps of a batch is a hundred times that.
_BATCH_SAMPLES = 32 * 3 * 224**2
_MOST_IMAGES = 256


@dataclass(frozen=True)
class EncoderRecord:
    """What an encoder knows about itself; JSON in the metadata of its ``.onnx`` file.

    Attributes:
        name: what people call it.
        n_bits: length of the semantic code.
        fine_bits: length of the fine code; 0 where there is none.
        preprocessing: how images become its input.
        class_names: item types that it was trained on; attributes, where its neighbours share
            those.
        objective: name of the training objective.
        weights: weight of each of the objective's terms, and of the fine head's loss.
        backbone: name of the network in front of the heads.
        dataset: what it was trained on.
        neighbour_rule: what counted as relevant in training.
        seed: of everything random in training.
        training: schedule, machine settings and a row an epoch.
        figures: what was measured, by name.
        packages: versions of what trained and exported it.
        created: date and time, ISO 8601, UTC.
    """

    name: str
    n_bits: int
    fine_bits: int
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    objective: str
    weights: dict[str, float]
    backbone: str
    dataset: str
    neighbour_rule: str
    seed: int
    training: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    created: str = ""

    def to_json(self) -> str:
        """The record as it stands in the file."""
        record = {"format_version": FORMAT_VERSION, **asdict(self)}
        return json.dumps(record, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> EncoderRecord:
        """The inverse of :meth:`to_json`.

        Raises:
            EncoderError: not JSON, of a newer format, or with a field missing.
        """
        try:
            record = json.loads(text)
            version = record.pop("format_version")
            if version > FORMAT_VERSION:
                raise EncoderError(f"format version {version} is newer than this hashsearch")
            record["preprocessing"] = Preprocessing.from_record(record["preprocessing"])
            record["class_names"] = tuple(record["class_names"])
            made = cls(**record)
            if not isinstance(made.n_bits, int) or not isinstance(made.fine_bits, int):
                raise TypeError("bit counts must be whole numbers")
            check_bit_counts(made.n_bits, made.fine_bits)
        except (
            KeyError,
            TypeError,
            ValueError,
            OverflowError,
            AttributeError,
            RecursionError,
        ) as error:
            raise EncoderError(f"its record is not usable ({error})") from error
        return made


class Encoder:
    """Images to packed codes.

    Args:
        model: the bytes of an ``.onnx`` file.
        name: what messages call it.
        threads: that ONNX Runtime may use for one batch; None takes all cores.
        gpu: run on the process's first GPU, which rounds otherwise: a bit whose output is almost
            0 may turn.

    Attributes:
        model: the bytes.

    Raises:
        EncoderError: not an encoder, damaged, or with operators or files outside the
            standard ONNX domain; or ONNX Runtime cannot use a GPU here.
    """

    def __init__(
        self,
        model: bytes,
        *,
        name: str = "encoder",
        threads: int | None = None,
        gpu: bool = False,
    ) -> None:
        self.model = model
        self.session, metadata = _session(model, name, threads, gpu=gpu)
        if METADATA_KEY not in metadata:
            raise EncoderError(
                f"{name} is an ONNX model but no hashsearch encoder (it has no record); "
                "make one with `hashsearch train`"
            )
        try:
            self.record = EncoderRecord.from_json(metadata[METADATA_KEY])
        except EncoderError as error:
            raise EncoderError(
                f"{name}: {error}; export it anew with `hashsearch train`"
            ) from error
        self._trained_on = metadata.get(TRAINED_ON_KEY)
        self.name = name
        self.fingerprint = hashlib.sha256(model).hexdigest()
        self._check_ends()
        self._input = self.session.get_inputs()[0].name

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str], *, threads: int | None = None) -> Encoder:
        """An encoder that ships (by name) or any other (by the path of its ``.onnx`` file).

        Raises:
            EncoderError: there is none of this name, or the file is not an encoder.
        """
        shipped = pretrained()
        path = shipped.get(str(name_or_path), Path(name_or_path))
        try:
            model = path.read_bytes()
        except FileNotFoundError as error:
            raise EncoderError(
                f"no encoder {name_or_path}: name an .onnx file or one that ships "
                f"({', '.join(shipped)})"
            ) from error
        except OSError as error:
            raise EncoderError(
                f"{path} cannot be read ({error.strerror}); name an .onnx file that can be"
            ) from error
        return cls(
            model, name=path.stem if path in shipped.values() else str(path), threads=threads
        )

    @property
    def n_bits(self) -> int:
        """Length of the semantic code, in bits."""
        return self.record.n_bits

    @property
    def fine_bits(self) -> int:
        """Length of the fine code, in bits."""
        return self.record.fine_bits

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become input."""
        return self.record.preprocessing

    @property
    def code_bytes(self) -> int:
        """Width of a code, in bytes."""
        return (self.n_bits + self.fine_bits) // 8

    def took_part(self, ids: Sequence[str]) -> npt.NDArray[np.bool_] | None:
        """Which images trained it or chose its best epoch, as far as their ids tell.

        Args:
            ids: of ``n`` images.

        Returns:
            ``bool (n,)``; None where the encoder lists no ids.

        Raises:
            EncoderError: its list is damaged.
        """
        if self._trained_on is None:
            return None
        try:
            return are_among(ids, self._trained_on)
        except ValueError as error:
            raise EncoderError(
                f"{self.name}: {error}; export it anew with `hashsearch train`"
            ) from error

    @property
    def batch_size(self) -> int:
        """How many images the network sees at once unless told: the larger they are, the fewer."""
        return min(
            max(_BATCH_SAMPLES // (self.preprocessing.channels * self.preprocessing.size**2), 1),
            _MOST_IMAGES,
        )

    def encode(
        self, images: ImageSource | Iterable[ImageSource], *, batch_size: int | None = None
    ) -> npt.NDArray[np.uint8]:
        """Codes of images of any kind.

        Args:
            images: paths, encoded bytes, streams, Pillow images or arrays; any iterable,
                read a batch at a time. One such image alone is taken as a list of one
                (so an array ``(n, h, w)`` with ``w`` of 3 or 4 is one image, not ``n``).
            batch_size: how many images the network sees at once; None: :attr:`batch_size`.

        Returns:
            ``uint8 (n, code_bytes)``.

        Raises:
            ImageError: an image is unreadable; nothing is returned for the others.
            ArgumentError: a batch size below 1.
        """
        batch_size = self._checked(batch_size)
        if _is_one_image(images):
            images = [images]  # type: ignore[list-item]  # the check above is what the type says
        batches = _batches(iter(images), batch_size)  # type: ignore[arg-type]  # as above
        parts = [
            self.encode_pixels(
                np.stack([to_pixels(image, self.preprocessing) for image in batch]),
                batch_size=batch_size,
            )
            for batch in batches
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.code_bytes), np.uint8)

    def encode_pixels(
        self, pixels: npt.NDArray[np.uint8], *, batch_size: int | None = None
    ) -> npt.NDArray[np.uint8]:
        """Codes of images that are already what :func:`~hashsearch.images.to_pixels` returns.

        Args:
            pixels: ``uint8 (n, channels, size, size)``.
            batch_size: how many images the network sees at once; None: :attr:`batch_size`.

        Returns:
            ``uint8 (n, code_bytes)``.

        Raises:
            ArgumentError: another shape or dtype, or a batch size below 1.
        """
        batch_size = self._checked(batch_size)
        size, channels = self.preprocessing.size, self.preprocessing.channels
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (channels, size, size):
            raise ArgumentError(
                f"pixels must be uint8 (n, {channels}, {size}, {size}), not {pixels.dtype} "
                f"{pixels.shape}; `encode` takes images of any size"
            )
        codes = np.empty((len(pixels), self.code_bytes), dtype=np.uint8)
        for start in range(0, len(pixels), batch_size):
            batch = pixels[start : start + batch_size]
            codes[start : start + len(batch)] = pack_bits(self._outputs(batch) >= 0)
        return codes

    def _checked(self, batch_size: int | None) -> int:
        if batch_size is None:
            return self.batch_size
        if batch_size < 1:
            raise ArgumentError(f"batch_size must be at least 1, not {batch_size}")
        return batch_size

    def _outputs(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """``float32 (n, n_bits + fine_bits)``."""
        try:
            outputs = self.session.run(None, {self._input: normalise(pixels, self.preprocessing)})
            joined: npt.NDArray[np.float32] = np.concatenate(outputs, axis=1)
        except Exception as error:  # as in _session
            raise EncoderError(
                f"{self.name} fails on {len(pixels)} images ({first_line(error)}); "
                "export it anew with `hashsearch train`"
            ) from error
        expected = (len(pixels), self.n_bits + self.fine_bits)
        if joined.shape != expected or np.isnan(joined).any():
            raise EncoderError(
                f"{self.name} puts out {joined.shape} numbers, or some that are none, where "
                f"{expected} belong; export it anew with `hashsearch train`"
            )
        return joined

    def _check_ends(self) -> None:
        size, channels = self.preprocessing.size, self.preprocessing.channels
        shapes = [list(entry.shape) for entry in self.session.get_inputs()]
        # The first dimension counts the images: a name, not a number.
        if [shape[1:] for shape in shapes] != [[channels, size, size]] or isinstance(
            shapes[0][0], int
        ):
            raise EncoderError(
                f"{self.name} takes {shapes} where its record says "
                f"[n, {channels}, {size}, {size}]; export it anew with `hashsearch train`"
            )
        expected = [bits for bits in (self.n_bits, self.fine_bits) if bits]
        widths = [output.shape[-1:] for output in self.session.get_outputs()]
        if widths != [[bits] for bits in expected]:
            raise EncoderError(
                f"{self.name} puts out {widths} values where its record says {expected}; "
                "export it anew with `hashsearch train`"
            )


def pretrained() -> dict[str, Path]:
    """The encoders that ship with the package, by name."""
    folder = Path(str(resources.files("hashsearch") / "pretrained"))
    return {path.stem: path for path in sorted(folder.glob("*.onnx"))}


def sees_gpu() -> bool:
    """Whether ONNX Runtime is installed with what it needs to run on GPUs."""
    return _GPU in onnxruntime.get_available_providers()


def _session(
    model: bytes, name: str, threads: int | None, *, gpu: bool
) -> tuple[onnxruntime.InferenceSession, dict[str, str]]:
    """The model ready to run, and its metadata."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if threads:
        options.intra_op_num_threads = threads
    # Its threads wait for the next batch without turning: others read images meanwhile. Without
    # this, mobilenet_v3_small encoded photos of 1,000 x 1,000 pixels on 2 cores at 240/s, with it
    # at 265 to 290; the network alone is as fast.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Else the bytes themselves may choose another format than the one that is checked.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        check_model(model)
        wanted = [_GPU, _PROCESSOR] if gpu and sees_gpu() else [_PROCESSOR]
        session = onnxruntime.InferenceSession(
            model,
            options,
            providers=wanted,
            # Else a failure is announced on standard output, and tried again.
            enable_fallback=0,
        )
        # Text that is not UTF-8 is found out by asking for it.
        session.get_inputs()[0].name  # noqa: B018
        metadata = session.get_modelmeta().custom_metadata_map
    except DisallowedError as error:
        raise EncoderError(
            f"{name} uses {error}, which an encoder may not; make one with `hashsearch train`"
        ) from error
    except Exception as error:  # ONNX Runtime's exceptions share no base class but this one
        raise EncoderError(
            f"{name} is not an ONNX model that can be run ({first_line(error)}); "
            "make an encoder with `hashsearch train`"
        ) from error
    # It may be installed for GPUs, and yet find none that it can use.
    if gpu and session.get_providers()[0] != _GPU:
        raise EncoderError(
            f"{name} cannot run on a GPU here; install onnxruntime-gpu, for the CUDA that is "
            "there, in the place of onnxruntime"
        )
    return session, metadata


def _is_one_image(images: ImageSource | Iterable[ImageSource]) -> bool:
    if isinstance(images, np.ndarray):
        return images.ndim == 2 or (images.ndim == 3 and images.shape[2] in {3, 4})
    return isinstance(images, str | os.PathLike | bytes | Image.Image) or hasattr(images, "read")


def _batches(images: Iterator[ImageSource], size: int) -> Iterator[list[ImageSource]]:
    while batch := list(itertools.islice(images, size)):
        yield batch
