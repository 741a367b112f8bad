"""From a file, bytes, a stream, a Pillow image or an array to the pixels an encoder expects.

Preprocessing is data: a :class:`Preprocessing` stands in every encoder's record and is
executed here alone, in training, build and query alike. Pillow and NumPy only.
"""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from hashsearch.errors import EncoderError, ImageError

__all__ = [
    "FASHION_MNIST",
    "MAX_PIXELS",
    "PREPROCESSING_KINDS",
    "ImageSource",
    "Preprocessing",
    "describe",
    "normalise",
    "read_image",
    "thumbnail",
    "to_pixels",
]

ImageSource: TypeAlias = (
    str | os.PathLike[str] | bytes | BinaryIO | Image.Image | npt.NDArray[np.uint8]
)

MAX_PIXELS = 100_000_000
"""Larger images are refused before they are decoded (a decompression bomb, or a mistake)."""

_BRIGHT = 127
# Zalando's own tolerance: within 5 % of the largest intensity is still background.
_TRIM_TOLERANCE = 0.05 * 255
_SIXTEEN_TO_EIGHT = 257


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes an encoder's input.

    Attributes:
        kind: a key of :data:`PREPROCESSING_KINDS`.
        size: height and width of the pixels, in pixels.
        resize: short side before the centre crop (``photo`` only), in pixels.
        mean: mean of each channel, on the scale where white is 1.
        std: standard deviation of each channel, on the same scale.

    Raises:
        EncoderError: an unknown kind.
    """

    kind: str
    size: int
    resize: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.kind not in PREPROCESSING_KINDS:
            raise EncoderError(
                f"unknown preprocessing {self.kind!r}; known: {', '.join(PREPROCESSING_KINDS)}"
            )

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return len(self.mean)

    def to_record(self) -> dict[str, Any]:
        """As JSON-able data; :meth:`from_record` is the inverse."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Preprocessing:
        """From an encoder's record.

        Raises:
            EncoderError: a field is missing or of another type.
        """
        try:
            return cls(
                kind=str(record["kind"]),
                size=int(record["size"]),
                resize=int(record["resize"]),
                mean=tuple(float(value) for value in record["mean"]),
                std=tuple(float(value) for value in record["std"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise EncoderError(f"the preprocessing in the record is not usable: {error}") from error


def describe(source: ImageSource) -> str:
    """What an error message calls this image."""
    if isinstance(source, str | os.PathLike):
        return str(source)
    if isinstance(source, bytes):
        return f"{len(source)} bytes of image data"
    if isinstance(source, np.ndarray):
        return f"array of shape {source.shape}"
    return str(getattr(source, "name", "") or type(source).__name__)


def read_image(source: ImageSource) -> Image.Image:
    """Decode an image wholly, turn it upright and make it 8-bit grey or RGB.

    EXIF rotation is applied, transparency is laid on white, palettes and CMYK become
    RGB, 16-bit samples are scaled to 8 bits, and of several frames the first is taken.

    Args:
        source: a path, encoded bytes, a binary stream, a Pillow image, or an array
            ``uint8 (h, w)`` or ``(h, w, 3 or 4)``.

    Returns:
        A Pillow image of mode ``L`` or ``RGB``.

    Raises:
        ImageError: unreadable, truncated, or more than :data:`MAX_PIXELS` pixels.
    """
    name = describe(source)
    try:
        with warnings.catch_warnings():
            # The limit is checked below, against the size in the header.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = _open(source)
            _check_size(image, name)
            image.load()
        return _flatten(ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise ImageError(f"{name} is a folder; name an image file in it") from error
    except PermissionError as error:
        raise ImageError(f"{name} may not be read; check its permissions") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: {_too_large()}") from error
    except Image.UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not an image that can be read; use JPEG, PNG, WebP, GIF, BMP or TIFF"
        ) from error
    # Decoders meet damaged files with whatever they stumble over: OSError, SyntaxError,
    # struct.error, zlib.error, IndexError ...
    except Exception as error:
        raise ImageError(
            f"{name} is damaged or cut short ({error}); get the file anew"
        ) from error


def to_pixels(source: ImageSource, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """The pixels that an encoder sees, before normalisation.

    Returns:
        ``uint8 (channels, size, size)``.

    Raises:
        ImageError: see :func:`read_image`.
    """
    return PREPROCESSING_KINDS[preprocessing.kind](read_image(source), preprocessing)


def normalise(
    pixels: npt.NDArray[np.uint8], preprocessing: Preprocessing
) -> npt.NDArray[np.float32]:
    """Scale pixels as the network was trained: ``(pixels / 255 - mean) / std``.

    Args:
        pixels: ``uint8 (n, channels, size, size)``.
        preprocessing: the encoder's.

    Returns:
        ``float32 (n, channels, size, size)``.
    """
    mean = np.asarray(preprocessing.mean, dtype=np.float32)[:, None, None]
    std = np.asarray(preprocessing.std, dtype=np.float32)[:, None, None]
    scaled = pixels.astype(np.float32)
    scaled *= 1 / (255 * std)
    scaled -= mean / std
    return scaled


def thumbnail(image: Image.Image, side: int = 96) -> bytes:
    """A JPEG no larger than ``side`` x ``side`` pixels; smaller images keep their size."""
    small = image.copy()
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _open(source: ImageSource) -> Image.Image:
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, np.ndarray):
        return Image.fromarray(source)
    if isinstance(source, bytes):
        return Image.open(io.BytesIO(source))
    if isinstance(source, str | os.PathLike):
        return Image.open(Path(source))
    return Image.open(source)


def _check_size(image: Image.Image, name: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{name} ({image.width} x {image.height}): {_too_large()}")


def _too_large() -> str:
    return f"more than {MAX_PIXELS // 1_000_000} million pixels; scale it down first"


def _flatten(image: Image.Image) -> Image.Image:
    """8-bit grey or RGB, transparency on white."""
    if image.mode in {"L", "RGB"} and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        # Pillow would saturate, not scale.
        samples = np.asarray(image).astype(np.int64)
        return Image.fromarray((samples.clip(0, 65535) // _SIXTEEN_TO_EIGHT).astype(np.uint8))
    if image.mode == "F":
        raise ImageError(
            "floating-point samples have no known white; save the image with 8 or 16 bits"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


def _photo(image: Image.Image, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Resize the short side, crop the centre: as torchvision's classifiers are evaluated."""
    scale = preprocessing.resize / min(image.size)
    width, height = (max(round(side * scale), preprocessing.size) for side in image.size)
    image = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - preprocessing.size) // 2, (height - preprocessing.size) // 2
    image = image.crop((left, top, left + preprocessing.size, top + preprocessing.size))
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _fashion_mnist(image: Image.Image, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """The steps by which the data set was made (Xiao et al. 2017, figure 1).

    Trim to what differs from the border, scale the longest side, pad, grey, and negate
    when the border is bright. An image that has the data set's own size is one of its
    images already, and is only made grey.
    """
    side = preprocessing.size
    if image.size == (side, side):
        return np.asarray(image.convert("L"))[None]
    samples = np.asarray(image.convert("RGB")).astype(np.int16)
    edge = np.concatenate([samples[0], samples[-1], samples[:, 0], samples[:, -1]])
    background = np.median(edge, axis=0)
    item = np.abs(samples - background).max(axis=2) > _TRIM_TOLERANCE
    rows, columns = np.flatnonzero(item.any(axis=1)), np.flatnonzero(item.any(axis=0))
    grey = image.convert("L")
    if rows.size:
        grey = grey.crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    scale = side / max(grey.size)
    width, height = (max(round(length * scale), 1) for length in grey.size)
    grey = grey.resize((width, height), Image.Resampling.LANCZOS)
    level = int(np.median(np.asarray(Image.fromarray(edge[None].astype(np.uint8)).convert("L"))))
    canvas = Image.new("L", (side, side), level)
    canvas.paste(grey, ((side - width) // 2, (side - height) // 2))
    if level > _BRIGHT:
        canvas = ImageOps.invert(canvas)
    return np.asarray(canvas)[None]


PREPROCESSING_KINDS = {"photo": _photo, "fashion-mnist": _fashion_mnist}

FASHION_MNIST = Preprocessing(
    kind="fashion-mnist", size=28, resize=28, mean=(0.2860,), std=(0.3530,)
)
"""Mean and deviation are those of the 60,000 training images."""
