"""From a file, bytes, a stream, a Pillow image or an array to the pixels an encoder expects.

Preprocessing is data: a :class:`Preprocessing` stands in every encoder's record and is
executed here alone, in training, build and query alike. Pillow and NumPy only.
"""

from __future__ import annotations

import io
import math
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError, features

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

# Pillow's own limit, past which it warns: so nothing that is read here makes it warn of size.
MAX_PIXELS = 89_478_485
"""Larger images are refused before they are decoded (a decompression bomb, or a mistake)."""

# Others are not for photos, and some of Pillow's decoders run a program (EPS: Ghostscript).
_FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]
if "avif" in features.modules:
    _FORMATS.insert(0, "AVIF")

_BRIGHT = 127
# Zalando's own tolerance: within 5 % of the largest intensity is still background.
_TRIM_TOLERANCE = 0.05 * 255
_SIXTEEN_TO_EIGHT = 257
_WHITE_16 = 65535
_ARRAY_CHANNELS = (3, 4)


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
        EncoderError: an unknown kind, or values that it cannot be carried out with.
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
        channels = _CHANNELS[self.kind]
        if not len(self.mean) == len(self.std) == channels:
            raise EncoderError(
                f"preprocessing {self.kind!r} takes {channels} mean and std, "
                f"not {len(self.mean)} and {len(self.std)}"
            )
        if not 0 < self.size <= self.resize:
            raise EncoderError(
                f"preprocessing needs 0 < size <= resize, not {self.size} and {self.resize}"
            )
        if not all(math.isfinite(value) for value in self.mean + self.std) or min(self.std) <= 0:
            raise EncoderError(
                f"preprocessing needs std above 0, not {self.std} (mean {self.mean})"
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
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise EncoderError(f"the preprocessing in the record is not usable: {error}") from error


def describe(source: ImageSource) -> str:
    """What an error message calls this image."""
    if isinstance(source, str | os.PathLike):
        return str(source)
    if isinstance(source, bytes):
        return f"image data of {len(source)} bytes"
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
        with _open(source, name) as image:
            _check_size(image, name)
            image.load()
            return _flatten(ImageOps.exif_transpose(image), name)
    except ImageError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError(f"{name}: no such file; check its name and folder") from error
    except IsADirectoryError as error:
        raise ImageError(f"{name} is a folder; name an image file in it") from error
    except PermissionError as error:
        raise ImageError(f"{name} may not be read; check its permissions") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name}: {_too_large()}") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not an image that can be read; use {', '.join(_FORMATS[:-1])} or "
            f"{_FORMATS[-1]}"
        ) from error
    # Decoders meet damaged files with whatever they stumble over: OSError, SyntaxError,
    # struct.error, zlib.error, IndexError ...
    except Exception as error:
        raise ImageError(
            f"{name} is damaged or cut short ({str(error) or type(error).__name__}); "
            "get the file anew"
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


def _open(source: ImageSource, name: str) -> AbstractContextManager[Image.Image]:
    """A file opened here is closed on exit; what the caller opened stays open."""
    if isinstance(source, Image.Image):
        return nullcontext(source)
    if isinstance(source, np.ndarray):
        return nullcontext(_from_array(source))
    if isinstance(source, bytes):
        return Image.open(io.BytesIO(source), formats=_FORMATS)
    if isinstance(source, str | os.PathLike):
        return Image.open(Path(source), formats=_FORMATS)
    if not hasattr(source, "read"):
        raise ImageError(
            f"{name} is no image; give a path, bytes, a binary stream, a Pillow image or an array"
        )
    return nullcontext(Image.open(source, formats=_FORMATS))


def _from_array(array: npt.NDArray[np.uint8]) -> Image.Image:
    shape = array.shape
    if array.dtype != np.uint8 or not (
        array.ndim == 2 or (array.ndim == 3 and shape[2] in _ARRAY_CHANNELS)
    ):
        raise ImageError(
            f"an image array must be uint8 (height, width) or (height, width, 3 or 4), "
            f"not {array.dtype} {shape}"
        )
    if 0 in shape:
        raise ImageError(f"array of shape {shape} has no pixels")
    return Image.fromarray(array)


def _check_size(image: Image.Image, name: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{name} ({image.width} x {image.height}): {_too_large()}")
    if image.width * image.height == 0:
        raise ImageError(f"{name} has no pixels")


def _too_large() -> str:
    return f"more than {MAX_PIXELS // 1_000_000} million pixels; scale it down first"


def _flatten(image: Image.Image, name: str) -> Image.Image:
    """8-bit grey or RGB, transparency on white."""
    if image.mode in {"L", "RGB"} and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        # Pillow would saturate, not scale.
        samples = np.asarray(image).astype(np.int64).clip(0, _WHITE_16)
        samples[samples == image.info.get("transparency")] = _WHITE_16
        return Image.fromarray((samples / _SIXTEEN_TO_EIGHT).round().astype(np.uint8))
    if image.mode in {"F", "LAB"}:
        raise ImageError(
            f"{name} has samples of kind {image.mode}, whose white is unknown; "
            "save it as grey or RGB with 8 or 16 bits"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


def _photo(image: Image.Image, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Resize the short side, crop the centre: as torchvision's classifiers are evaluated."""
    size, short = preprocessing.size, min(image.size)
    box: list[float] = []
    for side in image.size:
        resized = preprocessing.resize * side // short
        first = round((resized - size) / 2)
        box += [first * side / resized, min((first + size) * side / resized, side)]
    left, right, top, bottom = box
    # Only the crop is resized: a sliver of an image would grow past all memory.
    image = image.convert("RGB").resize(
        (size, size), Image.Resampling.BILINEAR, box=(left, top, right, bottom)
    )
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def _fashion_mnist(image: Image.Image, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """The steps by which the data set was made (Xiao et al. 2017, figure 1).

    Trim to what differs from the border, scale the longest side, pad, grey, and negate
    when the border is bright. An image that has the data set's own size is neither trimmed
    nor scaled: it is one of its images already.

    The paper skips rows and columns to scale down, then sharpens (radius 1). Here the
    pixels are averaged and not sharpened. On 200 sample images, enlarged tenfold (bicubic),
    negated, laid on white and saved as JPEG, averaging came back at a mean difference of
    10.0 grey levels (sharpened by 100 %: 11.3), bilinear at 11.0 (10.9), bicubic at 10.3
    (11.8), Lanczos at 10.2 (12.6). Enlarged without smoothing: 1.9 (9.7), 7.8 (5.1),
    5.7 (6.9), 5.2 (7.5). Skipping pixels gave 8.1 (11.7) and 2.2 (10.0), but on a real photo
    it turns the weave into noise. An odd margin has its extra pixel left or above, as in the data
    set; to the right or below, the mean difference would be 15.2 (11.7).
    """
    side = preprocessing.size
    if image.size == (side, side):
        pixels = np.array(image.convert("L"))
        edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        level = int(np.sort(edge)[edge.size // 2])  # a median, in a tenth of np.median's time
    else:
        colour = image.convert("RGB")
        background = _border_colour(colour)
        level = int(np.asarray(Image.new("RGB", (1, 1), background).convert("L"))[0, 0])
        box = _item_box(colour, background)
        pixels = np.array(_fitted(image.convert("L"), box, side, level))
    return (255 - pixels if level > _BRIGHT else pixels)[None]


def _item_box(
    colour: Image.Image, background: tuple[int, int, int]
) -> tuple[int, int, int, int] | None:
    """What differs from the background: left, top, right, bottom; None where nothing does."""
    difference = ImageChops.difference(colour, Image.new("RGB", colour.size, background))
    item = difference.point([255 * (value > _TRIM_TOLERANCE) for value in range(256)] * 3)
    return item.getbbox()


def _fitted(
    grey: Image.Image, box: tuple[int, int, int, int] | None, side: int, level: int
) -> Image.Image:
    """The box, its longest side scaled to ``side``, in the middle of a square of ``level``."""
    grey = grey.crop(box)
    scale = side / max(grey.size)
    width, height = (max(round(length * scale), 1) for length in grey.size)
    grey = grey.resize((width, height), Image.Resampling.BOX)
    canvas = Image.new("L", (side, side), level)
    canvas.paste(grey, ((side - width + 1) // 2, (side - height + 1) // 2))
    return canvas


def _border_colour(image: Image.Image) -> tuple[int, int, int]:
    """The median of each channel along the four sides of an RGB image."""
    width, height = image.size
    sides = [
        (0, 0, width, 1),
        (0, height - 1, width, height),
        (0, 0, 1, height),
        (width - 1, 0, width, height),
    ]
    edge = np.concatenate([np.asarray(image.crop(box)).reshape(-1, 3) for box in sides])
    red, green, blue = np.median(edge, axis=0)
    return int(red), int(green), int(blue)


PREPROCESSING_KINDS = {"photo": _photo, "fashion-mnist": _fashion_mnist}
_CHANNELS = {"photo": 3, "fashion-mnist": 1}

FASHION_MNIST = Preprocessing(
    kind="fashion-mnist", size=28, resize=28, mean=(0.2860,), std=(0.3530,)
)
"""Mean and deviation are those of the 60,000 training images."""
