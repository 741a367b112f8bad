"""From a file, bytes, a stream, a Pillow image or an array to the pixels an encoder expects.

Preprocessing is data: a :class:`Preprocessing` stands in every encoder's record and is
executed here alone, in training, build and query alike. Pillow and NumPy only.
"""

from __future__ import annotations

import io
import math
import os
import stat
import struct
import zlib
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError, features

from hashsearch.errors import EncoderError, ImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "FASHION_MNIST",
    "FORMATS",
    "MAX_PIXELS",
    "PREPROCESSING_KINDS",
    "ImageSource",
    "Preprocessing",
    "describe",
    "normalise",
    "prepared",
    "read_content",
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
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]
if "avif" in features.modules:
    FORMATS.insert(0, "AVIF")
"""The kinds of image files that are read, by Pillow's names."""

_BRIGHT = 127
# Zalando's own tolerance: within 5 % of the largest intensity is still background.
_TRIM_TOLERANCE = 0.05 * 255
_WHITE_16 = 65535
_ARRAY_CHANNELS = (3, 4)

# TIFF 6.0: the tags' numbers, and the value of each that matters here.
_BITS, _COMPRESSION, _PHOTOMETRIC, _PLANAR = 258, 259, 262, 284
_PLAIN, _WHITE_IS_ZERO, _PLANE_BY_PLANE = 1, 0, 2
# What a PNG's grey samples of few bits are multiplied by to become 8 bits, by Pillow's raw mode.
_PNG_STRETCH = {"L;2": 85, "L;4": 17}
_PNG_SIGNATURE_BYTES = 8


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

    @property
    def least_side(self) -> int:
        """The short side, in pixels, that a JPEG keeps at least when it is decoded in part for it.

        448 for the usual sizes: 16 times ``size`` (``fashion-mnist``), 7/4 of ``resize``
        (``photo``), so that a JPEG of 1,000 x 1,000 pixels is decoded at half its size.

        ``fashion-mnist``: 1,000 sample images, enlarged to 750 pixels (bicubic), negated, laid on
        1,000 x 1,000 of white with noise and saved as JPEG (quality 90). Against decoding it whole,
        the pixels are 1.3 grey levels off on average, and 0.55 of the 112 bits of the shipped
        encoder differ (0.17 of its 48 semantic ones), in 64 % of the images none; saved once more
        instead, at quality 85, 0.8 levels and 0.34 bits; the nearest of 10,000 other images is 12
        bits away (median). At a quarter, 8 times ``size``, it is 1.5 levels and 0.8 bits for an
        item of 600 pixels and 5.9 and 1.8 for one of 300; at an eighth, 3.1 and 1.3, 11.4 and 3.5.

        ``photo`` at 224: three photos at 1,000 pixels, 0.5 to 0.9 grey levels off, as when they are
        saved once more (0.4 to 0.9); at 1,792 and 3,584, where the most is lost, 0.6 to 1.0. With
        no more than ``resize`` pixels kept, 1.6 to 3.7.
        """
        return _LEAST_SIDES[self.kind](self)

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


def read_image(
    source: ImageSource, *, least_side: int | None = None, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Decode an image wholly, turn it upright and make it 8-bit grey or RGB.

    EXIF rotation is applied, transparency is laid on white, palettes and CMYK become
    RGB, samples of more bits are scaled to 8, and of several frames the first is taken. What a
    GIF's first frame does not cover is white, as a browser shows it on a white page. Colour
    profiles are not applied: CMYK becomes RGB by the inks' plain product.

    Damage is found as far as the format tells: a PNG by the checksums of its pixels too, others
    where the decoder stumbles. What no decoder reports (wrong samples in a BMP, lossy data that
    decode to another picture) is read.

    Args:
        source: a path, encoded bytes, a binary stream, a Pillow image, or an array
            ``uint8 (h, w)`` or ``(h, w, 3 or 4)``.
        least_side: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, in a fraction of the
            time, as long as its short side keeps as many pixels; None: at its own size. A Pillow
            image is the caller's, and is taken as it is.
        max_pixels: of the image before any reduction; a lower limit than :data:`MAX_PIXELS`, for
            images of strangers.

    Returns:
        A Pillow image of mode ``L`` or ``RGB``.

    Raises:
        ImageError: unreadable, truncated, or more pixels than the limit, or :data:`MAX_PIXELS`.
    """
    name = describe(source)
    with _refusals(name), _open(source, name) as image:
        _check_size(image, name, max_pixels)
        if image.format == "PNG" and image is not source:
            _check_sums(image.fp)  # type: ignore[attr-defined] # of what Pillow has opened
        if least_side and image is not source:
            # Both sides stay at least as long; other formats than JPEG are left alone.
            image.draft(None, (least_side, least_side))
        stored = _Stored.of(image)
        image.load()
        if image.mode == "P" and image.palette is None:
            raise ValueError("no palette")
        return _flatten(ImageOps.exif_transpose(image), stored, name)


def read_content(path: str | os.PathLike[str]) -> BinaryIO:
    """The bytes of an image file, as a stream that :func:`read_image` reads and names as the file.

    Raises:
        ImageError: it cannot be read, or is no file but a folder, a pipe or a device.
    """
    with _refusals(str(path)):
        _check_regular(path)
        with open(path, "rb") as file:  # noqa: PTH123 - a Path a file takes as long as the rest
            return _Content(file.read(), str(path))


class _Content(io.BytesIO):
    """Bytes with the name of the file that they are from."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def _check_regular(path: str | os.PathLike[str]) -> None:
    """To open a pipe is to wait for its writer, and a device may never end."""
    mode = os.stat(path).st_mode  # noqa: PTH116 - as in read_content
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ImageError(f"{os.fspath(path)} is a pipe or a device; name an image file")


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """What goes wrong with an image, as an error that names it and the mend."""
    try:
        yield
    except ImageError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError(f"{name}: no such file; check its name and folder") from error
    except IsADirectoryError as error:
        raise ImageError(f"{name} is a folder; name an image file in it") from error
    except PermissionError as error:
        raise ImageError(f"{name} may not be read; check its permissions") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name}: {_too_large(MAX_PIXELS)}") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not an image that can be read; use {', '.join(FORMATS[:-1])} or "
            f"{FORMATS[-1]}"
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

    A JPEG is decoded no larger than need be: at 1/2, 1/4 or 1/8 of its size, no smaller than
    :attr:`Preprocessing.least_side`, which says what that changes. One of 1,000 x 1,000 pixels
    takes three fifths of the time, one of 3,000 x 3,000 an eighth. A Pillow image is taken as
    it is: to get the same pixels by way of one, read it with that ``least_side``.

    Returns:
        ``uint8 (channels, size, size)``.

    Raises:
        ImageError: see :func:`read_image`.
    """
    return prepared(read_image(source, least_side=preprocessing.least_side), preprocessing)


def prepared(image: Image.Image, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """As :func:`to_pixels`, of what :func:`read_image` returned."""
    return PREPROCESSING_KINDS[preprocessing.kind](image, preprocessing)


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
        return Image.open(io.BytesIO(source), formats=FORMATS)
    if isinstance(source, str | os.PathLike):
        _check_regular(source)
        return Image.open(Path(source), formats=FORMATS)
    if not hasattr(source, "read"):
        raise ImageError(
            f"{name} is no image; give a path, bytes, a binary stream, a Pillow image or an array"
        )
    return nullcontext(Image.open(source, formats=FORMATS))


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


def _check_size(image: Image.Image, name: str, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise ImageError(f"{name} ({image.width} x {image.height}): {_too_large(max_pixels)}")
    if image.width * image.height == 0:
        raise ImageError(f"{name} has no pixels")


def _too_large(most: int) -> str:
    return f"more than {most // 1_000_000} million pixels; scale it down first"


class _Stored(NamedTuple):
    """How a file holds its pixels, as far as Pillow leaves it to the caller to heed.

    Attributes:
        frame: what of the canvas a GIF's first frame covers: left, top, right, bottom; None: all.
        stretch: what a PNG's transparent grey is multiplied by, as its samples are.
        cut: by how many bits a PNG's transparent colour is too long for the decoded samples.
        black: the sample of more than 8 bits that stands for black.
        white: the one that stands for white.
        opaque: whether alpha that is 0 all over stands for none.
        planes: whether it lies plane by plane in 16 bits, which Pillow takes for 8.
    """

    frame: tuple[int, int, int, int] | None = None
    stretch: int = 1
    cut: int = 0
    black: int = 0
    white: int = _WHITE_16
    opaque: bool = False
    planes: bool = False

    @classmethod
    def of(cls, image: Image.Image) -> _Stored:
        """What an image that is not loaded yet was opened from; a loaded one has no file left."""
        if image.format == "TIFF":
            tags: Any = image.tag_v2  # type: ignore[attr-defined] # of Pillow's TIFF images
            bits = max(tags.get(_BITS, (1,)))
            white = min((1 << bits) - 1, _WHITE_16)
            inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
            return cls(
                black=white if inverted else 0,
                white=0 if inverted else white,
                planes=bits > 8
                and tags.get(_PLANAR) == _PLANE_BY_PLANE
                and tags.get(_COMPRESSION, _PLAIN) == _PLAIN,
            )
        if image.format == "BMP":
            return cls(opaque=True)
        # Each tile: decoder, extents, offset, raw mode (alone, or the first of several values).
        tiles = getattr(image, "tile", None)
        if tiles and image.format == "GIF" and image.tell() == 0:
            return cls(frame=tiles[0][1])
        if tiles and image.format == "PNG":
            raw_mode = tiles[0][3]
            return cls(stretch=_PNG_STRETCH.get(raw_mode, 1), cut=8 * (raw_mode == "RGB;16B"))
        return cls()


def _check_sums(stream: BinaryIO) -> None:
    """See that a PNG's pixels have their checksums: Pillow looks at those of other chunks only.

    Raises:
        ValueError: they do not.
    """
    place = stream.tell()
    stream.seek(_PNG_SIGNATURE_BYTES)
    while len(head := stream.read(8)) == 8:
        (length,) = struct.unpack(">I", head[:4])
        if head[4:] == b"IDAT":
            found = zlib.crc32(stream.read(length), zlib.crc32(b"IDAT"))
            checksum = stream.read(4)
            # Of a chunk that is cut short, the decoder says whether pixels are missing.
            if len(checksum) == 4 and found != int.from_bytes(checksum, "big"):
                raise ValueError("wrong checksum")
        elif head[4:] == b"IEND":
            break
        else:
            stream.seek(length + 4, os.SEEK_CUR)
    stream.seek(place)


def _flatten(image: Image.Image, stored: _Stored, name: str) -> Image.Image:
    """8-bit grey or RGB, transparency on white."""
    if stored.planes:
        raise ImageError(
            f"{name} has 16-bit samples that lie plane by plane; save them pixel by pixel"
        )
    if image.mode in {"F", "LAB"}:
        raise _unknown_white(image, name)
    if image.mode.startswith("I"):
        return _to_8_bits(image, stored, name)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int) and image.mode == "L":
        image.info["transparency"] = transparent * stored.stretch
    elif isinstance(transparent, tuple):
        # The lower bits of the samples are gone: so what differs in them alone is transparent too.
        image.info["transparency"] = tuple(value >> stored.cut for value in transparent)
    if stored.opaque and image.mode == "RGBA" and not image.getchannel("A").getbbox():
        # Windows leaves the fourth byte of a pixel empty, whatever the header calls it.
        image = image.convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")  # no other conversion knows it
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    if image.mode not in {"L", "RGB"}:
        image = image.convert("L" if image.mode == "1" else "RGB")
    if stored.frame not in {None, (0, 0, *image.size)}:
        frame = image.crop(stored.frame)
        image = Image.new(image.mode, image.size, "white")
        image.paste(frame, stored.frame)
    return image


def _to_8_bits(image: Image.Image, stored: _Stored, name: str) -> Image.Image:
    """Grey of more than 8 bits; Pillow would saturate it, not scale it."""
    samples = np.asarray(image).astype(np.int64)
    least, most = sorted((stored.black, stored.white))
    if samples.min() < least or samples.max() > most:
        raise _unknown_white(image, name)
    samples[samples == image.info.get("transparency")] = stored.white
    scaled = (samples - stored.black) * (255 / (stored.white - stored.black))
    return Image.fromarray(scaled.round().astype(np.uint8))


def _unknown_white(image: Image.Image, name: str) -> ImageError:
    return ImageError(
        f"{name} has samples of kind {image.mode}, whose white is unknown; "
        "save it as grey or RGB with 8 or 16 bits"
    )


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
        background = _border_colour(image)
        level = int(np.asarray(Image.new(image.mode, (1, 1), background).convert("L"))[0, 0])
        item = image.crop(_item_box(image, background)).convert("L")
        pixels = np.array(_fitted(item, side, level))
    return (255 - pixels if level > _BRIGHT else pixels)[None]


def _item_box(image: Image.Image, background: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """What differs from the background: left, top, right, bottom; None where nothing does."""
    differs = [
        255 * (abs(value - level) > _TRIM_TOLERANCE) for level in background for value in range(256)
    ]
    return image.point(differs).getbbox()


def _fitted(grey: Image.Image, side: int, level: int) -> Image.Image:
    """Its longest side scaled to ``side``, in the middle of a square of ``level``."""
    scale = side / max(grey.size)
    width, height = (max(round(length * scale), 1) for length in grey.size)
    grey = grey.resize((width, height), Image.Resampling.BOX)
    canvas = Image.new("L", (side, side), level)
    canvas.paste(grey, ((side - width + 1) // 2, (side - height + 1) // 2))
    return canvas


def _border_colour(image: Image.Image) -> tuple[int, ...]:
    """The median of each channel along the four sides of a grey or RGB image."""
    width, height = image.size
    sides = [
        (0, 0, width, 1),
        (0, height - 1, width, height),
        (0, 0, 1, height),
        (width - 1, 0, width, height),
    ]
    channels = len(image.getbands())
    edge = np.concatenate([np.asarray(image.crop(box)).reshape(-1, channels) for box in sides])
    return tuple(int(level) for level in np.median(edge, axis=0))


PREPROCESSING_KINDS = {"photo": _photo, "fashion-mnist": _fashion_mnist}
_CHANNELS = {"photo": 3, "fashion-mnist": 1}
_LEAST_SIDES: dict[str, Callable[[Preprocessing], int]] = {
    "photo": lambda preprocessing: 7 * preprocessing.resize // 4,
    "fashion-mnist": lambda preprocessing: 16 * preprocessing.size,
}

FASHION_MNIST = Preprocessing(
    kind="fashion-mnist", size=28, resize=28, mean=(0.2860,), std=(0.3530,)
)
"""Mean and deviation are those of the 60,000 training images."""
