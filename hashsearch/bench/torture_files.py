"""The files of the torture set, whole and damaged, drawn and packed without Pillow's readers.

Damaged means: cut short at a tenth to nine tenths, empty, of something else, its header
overwritten, sums that do not fit, pixels that are missing or are no code of their format, or of
a size that would fill the memory; and the few kinds of TIFF that cannot be read rightly. What no
decoder notices is not among it: the last bytes missing after the last pixel; other samples in a
file that stores them bare (BMP, plain TIFF); and other bits in a code that stays one, in JPEG,
WebP, AVIF, and TIFF by deflate (whose sums libtiff passes over) or by PackBits: they are just
another picture's. So is a JPEG that is cut short and then ended properly: libjpeg only warns of
that, and Pillow does not pass it on.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, features

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Pixels = npt.NDArray[np.uint8]

__all__ = ["Specimen", "damaged", "specimens", "whole"]

_SHAPE = (48, 64)  # height, width
_MIDDLE = (240, 320)  # where a lossy border moves the trimmed box by little
_LARGE = (960, 1280)  # decoded at half its size
# The most that a lossy file may be off, on average and at a border of colours.
_LOSSY = (1.0, 60.0)
_BOMB = 60_000  # pixels, each side


class Specimen(NamedTuple):
    """One file of the set.

    Attributes:
        name: of the file; up to the first hyphen it says the format.
        content: its bytes.
        picture: ``uint8 (h, w, 3)``, what was put in; None: it must be refused.
        mean: the most that samples may be off on average, in grey levels.
        most: the most that one of them may be off.
    """

    name: str
    content: bytes
    picture: Pixels | None
    mean: float = 1.0
    most: float = 1.0

    @property
    def prepared_mean(self) -> float:
        """The same of its pixels: resizing rounds, and a lossy border moves the trimmed box."""
        return 2 * self.mean + 1


# What is put in: an item on white, without any symmetry


def _inside(shape: tuple[int, int]) -> tuple[npt.NDArray[np.float64], ...]:
    """Where the item lies, and how far right and down each pixel lies, 0 to 1."""
    down, right = (np.linspace(0, 1, length) for length in shape)
    y, x = np.meshgrid(down, right, indexing="ij")
    return ((y > 0.1) & (y < 0.8) & (x > 0.15) & (x < 0.9)).astype(float), x, y


def _colour(shape: tuple[int, int] = _SHAPE) -> Pixels:
    inside, x, y = _inside(shape)
    item = np.stack([30 + 170 * x, 40 + 90 * x + 60 * y, 160 - 100 * y], axis=2)
    colour: Pixels = np.where(inside[..., None] > 0, item, 255).round().astype(np.uint8)
    return colour


def _grey(shape: tuple[int, int] = _SHAPE) -> Pixels:
    inside, x, y = _inside(shape)
    grey: Pixels = np.where(inside > 0, 30 + 100 * x + 70 * y, 255).round().astype(np.uint8)
    return grey


def _alpha(shape: tuple[int, int] = _SHAPE) -> Pixels:
    inside, x, y = _inside(shape)
    alpha: Pixels = (inside * 255 * (0.3 + 0.5 * x + 0.2 * y)).round().astype(np.uint8)
    return alpha


def _indices(colours: int) -> Pixels:
    """``uint8 (h, w)``: each number below ``colours`` (at most 32), 0 around the item."""
    inside, x, y = _inside(_SHAPE)
    stripes = ((0.7 * x + 0.9 * y) * colours).astype(int) % (colours - 1)
    indices: Pixels = (inside * (1 + stripes)).astype(np.uint8)
    return indices


def _palette(colours: int) -> Pixels:
    """``uint8 (colours, 3)``, the first of them white."""
    palette = np.random.default_rng(7).integers(0, 200, (colours, 3), dtype=np.uint8)
    palette[0] = 255
    return palette


def _rgb(grey: Pixels) -> Pixels:
    return np.repeat(grey[..., None], 3, axis=2)


def _on_white(colour: Pixels, alpha: Pixels) -> Pixels:
    share = alpha[..., None] / 255
    return (colour * share + 255 * (1 - share)).round().astype(np.uint8)


def _wide(samples: Pixels) -> npt.NDArray[np.uint16]:
    """16-bit samples that are these in 8 bits."""
    return samples.astype(np.uint16) * 257


# Files


def _saved(samples: Pixels | Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = samples if isinstance(samples, Image.Image) else Image.fromarray(samples)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _packed(samples: npt.NDArray[Any], bits: int) -> bytes:
    """Rows ``(h, n)`` of samples below ``2**bits``, the first bits first, each row whole bytes."""
    if bits in {8, 16}:
        return samples.tobytes()
    each = (samples[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(each.reshape(len(samples), -1).astype(np.uint8), axis=1).tobytes()


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


_ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
_ADAM7 += [(1, 0, 2, 1)]


def _png(
    samples: npt.NDArray[Any], bits: int, colour: int, extra: bytes = b"", *, interlaced: bool
) -> bytes:
    """A PNG of samples ``(h, w)`` or ``(h, w, channels)``, of a colour type."""
    height, width = samples.shape[:2]
    raw = b""
    for top, left, down, right in _ADAM7 if interlaced else [(0, 0, 1, 1)]:
        part = samples[top::down, left::right].astype(">u2" if bits == 16 else np.uint8)
        if part.size:
            rows = _packed(part.reshape(len(part), -1), bits)
            stride = len(rows) // len(part)
            raw += b"".join(b"\0" + rows[at : at + stride] for at in range(0, len(rows), stride))
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    data = zlib.compress(raw)
    half = len(data) // 2
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            extra,
            _chunk(b"IDAT", data[:half]),
            _chunk(b"IDAT", data[half:]),
            _chunk(b"IEND", b""),
        ]
    )


def _tiff(
    planes: Sequence[npt.NDArray[Any]],
    bits: int,
    photometric: int,
    *,
    order: str = "<",
    deflated: bool = False,
    tags: dict[int, list[int]] | None = None,
) -> bytes:
    """A TIFF of one strip a plane; a plane is ``(h, w)`` or ``(h, w, channels)``."""
    height, width = planes[0].shape[:2]
    samples = sum(1 if plane.ndim == 2 else plane.shape[2] for plane in planes)
    strips = [
        _packed(plane.reshape(height, -1).astype(order + "u2" if bits == 16 else plane.dtype), bits)
        for plane in planes
    ]
    if deflated:
        strips = [zlib.compress(strip) for strip in strips]
    content = bytearray(struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 0))
    offsets = []
    for strip in strips:
        offsets.append(len(content))
        content += strip + b"\0" * (len(strip) % 2)
    entries = {
        256: [width],
        257: [height],
        258: [bits] * samples,
        259: [8 if deflated else 1],
        262: [photometric],
        273: offsets,
        277: [samples],
        278: [height],
        279: [len(strip) for strip in strips],
        284: [2 if len(planes) > 1 else 1],
        **(tags or {}),
    }
    directory = struct.pack(order + "H", len(entries))
    for tag, values in sorted(entries.items()):
        short = tag not in {256, 257, 273, 278, 279}
        data = struct.pack(f"{order}{len(values)}{'H' if short else 'I'}", *values)
        if len(data) > 4:
            content += b"\0" * (len(content) % 2)
            place = struct.pack(order + "I", len(content))
            content += data
            data = place
        directory += struct.pack(order + "HHI", tag, 3 if short else 4, len(values))
        directory += data.ljust(4, b"\0")
    content += b"\0" * (len(content) % 2)
    content[4:8] = struct.pack(order + "I", len(content))
    return bytes(content + directory + bytes(4))


def _bmp(
    rows: bytes,
    bits: int,
    *,
    palette: Pixels | None = None,
    compression: int = 0,
    masks: Sequence[int] = (),
    top_down: bool = False,
) -> bytes:
    """A BMP (version 4 where it has masks) of rows as they lie in the file."""
    height, width = _SHAPE
    table = b"" if palette is None else np.insert(palette[:, ::-1], 3, 0, axis=1).tobytes()
    size = 108 if masks else 40
    header = struct.pack(
        "<IiiHHIIiiII",
        size,
        width,
        -height if top_down else height,
        1,
        bits,
        compression,
        len(rows),
        2835,
        2835,
        0 if palette is None else len(palette),
        0,
    )
    header += struct.pack(f"<{len(masks)}I", *masks)
    offset = 14 + size + len(table)
    start = struct.pack("<2sIHHI", b"BM", offset + len(rows), 0, 0, offset)
    return start + header.ljust(size, b"\0") + table + rows


def _bmp_rows(samples: npt.NDArray[Any], bits: int, *, top_down: bool) -> bytes:
    """Samples ``(h, w)`` or ``(h, w, bytes of a pixel)`` as rows of whole words."""
    ordered = samples if top_down else samples[::-1]
    if bits >= 8:
        rows = [np.ascontiguousarray(row).tobytes() for row in ordered]
    else:
        rows = [_packed(row[None], bits) for row in ordered]
    return b"".join(row + bytes(-len(row) % 4) for row in rows)


def _run_lengths(indices: Pixels, bits: int) -> bytes:
    """A BMP's runs: how many and what, each row from the left, the lowest row first."""
    content = b""
    for row in indices[::-1]:
        starts = np.flatnonzero(np.diff(row, prepend=row[0] ^ 1))
        for start, end in zip(starts, [*starts[1:], len(row)], strict=True):
            value = int(row[start])
            content += bytes([end - start, value if bits == 8 else value * 17])
        content += b"\0\0"
    return content + b"\0\1"


# Whole files


def whole() -> Iterator[Specimen]:
    """Every kind of file that must be read, with the picture that was put into it."""
    yield from _whole_png()
    yield from _whole_jpeg()
    yield from _whole_tiff()
    yield from _whole_bmp()
    yield from _whole_gif()
    yield from _whole_webp()
    yield from _turned()
    yield from _slivers()


def _whole_png() -> Iterator[Specimen]:
    colour, grey, alpha = _colour(), _grey(), _alpha()
    kinds: list[tuple[str, npt.NDArray[Any], int, int, bytes, Pixels, float]] = []
    for bits in (1, 2, 4):
        levels = _indices(2**bits)
        picture = levels * np.uint8(255 // (2**bits - 1))
        kinds.append((f"grey{bits}", levels, bits, 0, b"", _rgb(picture), 0))
        picture = np.where(levels == 0, 255, picture)
        clear = _chunk(b"tRNS", struct.pack(">H", 0))
        kinds.append((f"grey{bits}-clear-black", levels, bits, 0, clear, _rgb(picture), 0))
        picture = np.where(levels == 1, 255, levels * np.uint8(255 // (2**bits - 1)))
        clear = _chunk(b"tRNS", struct.pack(">H", 1))
        kinds.append((f"grey{bits}-clear", levels, bits, 0, clear, _rgb(picture), 0))
    kinds += [
        ("grey8", grey, 8, 0, b"", _rgb(grey), 0),
        ("grey16", _wide(grey), 16, 0, b"", _rgb(grey), 0),
        ("colour8", colour, 8, 2, b"", colour, 0),
        ("colour16", _wide(colour), 16, 2, b"", colour, 1),
        ("grey-alpha8", np.dstack([grey, alpha]), 8, 4, b"", _on_white(_rgb(grey), alpha), 1),
        (
            "grey-alpha16",
            np.dstack([_wide(grey), _wide(alpha)]),
            16,
            4,
            b"",
            _on_white(_rgb(grey), alpha),
            2,
        ),
        ("alpha8", np.dstack([colour, alpha]), 8, 6, b"", _on_white(colour, alpha), 1),
        (
            "alpha16",
            np.dstack([_wide(colour), _wide(alpha)]),
            16,
            6,
            b"",
            _on_white(colour, alpha),
            2,
        ),
    ]
    for bits, samples in ((8, grey), (16, _wide(grey))):
        value = int(samples[10, 20])
        clear = _chunk(b"tRNS", struct.pack(">H", value))
        picture = np.where(samples == value, 255, grey)
        kinds.append((f"grey{bits}-clear", samples, bits, 0, clear, _rgb(picture), 0))
    for bits, samples in ((8, colour), (16, _wide(colour) // 257 * 256 + 99)):
        values = samples[10, 20]
        clear = _chunk(b"tRNS", struct.pack(">3H", *values.tolist()))
        picture = np.where((samples == values).all(axis=2)[..., None], 255, colour)
        kinds.append((f"colour{bits}-clear", samples, bits, 2, clear, picture, 1))
    for bits in (1, 2, 4, 8):
        indices, palette = _indices(2 ** min(bits, 5)), _palette(2 ** min(bits, 5))
        table = _chunk(b"PLTE", palette.tobytes())
        kinds.append((f"palette{bits}", indices, bits, 3, table, palette[indices], 0))
        clear = table + _chunk(b"tRNS", b"\xff\0")
        shown = palette.copy()
        shown[1] = 255
        kinds.append((f"palette{bits}-clear", indices, bits, 3, clear, shown[indices], 0))
        clear = table + _chunk(b"tRNS", b"\xff\x80")
        shown[1] = (palette[1] * (128 / 255) + 127).round()
        kinds.append((f"palette{bits}-half-clear", indices, bits, 3, clear, shown[indices], 1))
    for name, samples, bits, colour_type, extra, picture, off in kinds:
        for interlaced in (False, True):
            content = _png(samples, bits, colour_type, extra, interlaced=interlaced)
            suffix = "-interlaced" if interlaced else ""
            yield Specimen(f"png-{name}{suffix}.png", content, picture, off, off)
    frames = [Image.fromarray(colour), Image.fromarray(colour[::-1].copy())]
    content = _saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield Specimen("png-animated.png", content, colour)
    yield Specimen("png-named-as-jpeg.jpg", _saved(colour, "PNG"), colour)


def _whole_jpeg() -> Iterator[Specimen]:
    colour, grey = _colour(_MIDDLE), _grey(_MIDDLE)
    for style, options in (
        ("plain", {}),
        ("progressive", {"progressive": True}),
        ("restarts", {"restart_marker_rows": 1}),
        ("profile", {"icc_profile": bytes(range(256)) * 300}),
    ):
        for quality in (75, 95):
            name = f"{style}-{quality}"
            content = _saved(grey, "JPEG", quality=quality, **options)
            yield Specimen(f"jpeg-grey-{name}.jpg", content, _rgb(grey), *_LOSSY)
            for sampling in (0, 1, 2):
                content = _saved(colour, "JPEG", quality=quality, subsampling=sampling, **options)
                yield Specimen(f"jpeg-colour-{name}-{sampling}.jpg", content, colour, *_LOSSY)
    content = _saved(colour, "JPEG", keep_rgb=True, quality=90)
    yield Specimen("jpeg-colour-not-ycbcr.jpg", content, colour, *_LOSSY)
    yield Specimen("jpeg-named-as-png.png", _saved(colour, "JPEG", quality=90), colour, *_LOSSY)
    # A decoder knows the usual Huffman codes, so the frames of a video (motion JPEG) lack them.
    content = _without(_saved(colour, "JPEG", quality=90), 0xC4)
    yield Specimen("jpeg-without-codes.jpg", content, colour, *_LOSSY)
    content = _saved(
        Image.fromarray(colour),
        "MPO",
        save_all=True,
        append_images=[Image.fromarray(colour[::-1].copy())],
        quality=90,
    )
    yield Specimen("jpeg-two-pictures.jpg", content, colour, *_LOSSY)
    for shape, size in ((_MIDDLE, ""), (_LARGE, "-large")):
        inks, picture = _inks(shape)
        content = _saved(Image.fromarray(inks, "CMYK"), "JPEG", quality=95)
        yield Specimen(f"jpeg-cmyk{size}.jpg", content, picture, *_LOSSY)
        # As Photoshop does it: of the inks, turned to brightness and colour, with APP14's
        # transform at 2. What is written is 255 less each sample, so those are given for ink.
        ycc = np.asarray(Image.fromarray(inks[..., :3], "RGB").convert("YCbCr"))
        turned = np.dstack([255 - ycc, inks[..., 3]])
        content = _saved(Image.fromarray(turned, "CMYK"), "JPEG", quality=95)
        place = content.index(b"Adobe") + 11
        content = content[:place] + b"\2" + content[place + 1 :]
        yield Specimen(f"jpeg-ycck{size}.jpg", content, picture, *_LOSSY)
    for progressive in (False, True):
        style = "-progressive" if progressive else ""
        content = _saved(_colour(_LARGE), "JPEG", quality=90, progressive=progressive)
        yield Specimen(f"jpeg-colour-large{style}.jpg", content, _colour(_LARGE), *_LOSSY)
        content = _saved(_grey(_LARGE), "JPEG", quality=90, progressive=progressive)
        yield Specimen(f"jpeg-grey-large{style}.jpg", content, _rgb(_grey(_LARGE)), *_LOSSY)


def _without(jpeg: bytes, marker: int) -> bytes:
    """A JPEG less all of its segments of a kind."""
    while (place := jpeg.find(bytes([0xFF, marker]))) >= 0:
        (length,) = struct.unpack(">H", jpeg[place + 2 : place + 4])
        jpeg = jpeg[:place] + jpeg[place + 2 + length :]
    return jpeg


def _inks(shape: tuple[int, int]) -> tuple[Pixels, Pixels]:
    """Cyan, magenta, yellow and black ``uint8 (h, w, 4)``, and what they look like."""
    inside, x, y = _inside(shape)
    inks = np.stack([200 * x, 180 * y, 150 * (1 - x), 40 + 60 * y], axis=2) * inside[..., None]
    inks = inks.round()
    picture = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    return inks.astype(np.uint8), picture.round().astype(np.uint8)


def _whole_tiff() -> Iterator[Specimen]:
    colour, grey, alpha = _colour(), _grey(), _alpha()
    inks, printed = _inks(_SHAPE)
    layers = np.dstack([colour, alpha])
    weighted = np.dstack([(colour * (alpha[..., None] / 255)).round().astype(np.uint8), alpha])
    grey_layers = np.dstack([grey, alpha])
    palette = _palette(32)
    table = np.zeros((256, 3), np.uint16)
    table[:32] = _wide(palette)
    map_tag = {320: table.T.ravel().tolist()}
    for order, name in (("<", "little"), (">", "big")):
        for deflated in (False, True):
            end = f"{name}{'-deflated' if deflated else ''}.tif"
            for bits in (1, 4, 8, 16):
                levels = _indices(2**bits) if bits < 8 else grey
                picture = levels * np.uint8(255 // (2**bits - 1)) if bits < 8 else grey
                samples = _wide(levels) if bits == 16 else levels
                for photometric in (0, 1):
                    if (bits, photometric, order) == (16, 0, ">"):
                        continue  # Pillow knows no such file
                    kind = "white-is-zero" if photometric == 0 else "grey"
                    stored = samples if photometric else samples.dtype.type(2**bits - 1) - samples
                    content = _tiff([stored], bits, photometric, order=order, deflated=deflated)
                    yield Specimen(f"tiff-{kind}{bits}-{end}", content, _rgb(picture))
            for kind, planes, bits, photometric, tags, picture, off in (
                ("colour8", [colour], 8, 2, {}, colour, 0),
                ("colour16", [_wide(colour)], 16, 2, {}, colour, 1),
                ("planes8", list(colour.transpose(2, 0, 1)), 8, 2, {}, colour, 0),
                ("alpha8", [layers], 8, 2, {338: [2]}, _on_white(colour, alpha), 1),
                ("alpha16", [_wide(layers)], 16, 2, {338: [2]}, _on_white(colour, alpha), 2),
                ("weighted8", [weighted], 8, 2, {338: [1]}, _on_white(colour, alpha), 3),
                ("ignored8", [layers], 8, 2, {338: [0]}, colour, 0),
                ("grey-alpha8", [grey_layers], 8, 1, {338: [2]}, _on_white(_rgb(grey), alpha), 1),
                ("cmyk8", [inks], 8, 5, {}, printed, 1),
                ("cmyk16", [_wide(inks)], 16, 5, {}, printed, 2),
                ("palette8", [_indices(32)], 8, 3, map_tag, palette[_indices(32)], 0),
            ):
                content = _tiff(
                    planes, bits, photometric, order=order, deflated=deflated, tags=tags
                )
                yield Specimen(f"tiff-{kind}-{end}", content, picture, off, off)
    weighted = np.dstack([(grey * (alpha / 255)).round().astype(np.uint8), alpha])
    content = _tiff([weighted], 8, 1, tags={338: [1]})
    yield Specimen("tiff-grey-weighted8.tif", content, _on_white(_rgb(grey), alpha), 3, 3)
    content = _tiff([grey.astype(int) * 4095 // 255], 12, 1)
    yield Specimen("tiff-grey12.tif", content, _rgb(grey))
    for compression in ("tiff_lzw", "packbits"):
        content = _saved(colour, "TIFF", compression=compression)
        yield Specimen(f"tiff-{compression}.tif", content, colour)
    content = _saved(_colour(_MIDDLE), "TIFF", compression="jpeg", quality=90)
    yield Specimen("tiff-jpeg.tif", content, _colour(_MIDDLE), *_LOSSY)
    bilevel = _indices(2) * np.uint8(255)
    content = _saved(Image.fromarray(bilevel).convert("1"), "TIFF", compression="group4")
    yield Specimen("tiff-fax.tif", content, _rgb(bilevel))
    pages = [Image.fromarray(colour), Image.fromarray(colour[::-1].copy())]
    content = _saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    yield Specimen("tiff-pages.tif", content, colour)


def _whole_bmp() -> Iterator[Specimen]:
    colour, alpha = _colour(), _alpha()
    blue_first = colour[..., ::-1]
    fives = (blue_first >> 3).astype("<u2")
    five = fives[..., 0] | (fives[..., 1] << 5) | (fives[..., 2] << 10)
    six = fives[..., 0] | ((blue_first[..., 1] >> 2).astype("<u2") << 5) | (fives[..., 2] << 11)
    empty = np.zeros_like(alpha)
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    for top_down in (False, True):
        end = "-top-down.bmp" if top_down else ".bmp"
        for bits in (1, 4, 8):
            colours = 2 ** min(bits, 5)
            indices, palette = _indices(colours), _palette(colours)
            rows = _bmp_rows(indices, bits, top_down=top_down)
            content = _bmp(rows, bits, palette=palette, top_down=top_down)
            yield Specimen(f"bmp-palette{bits}{end}", content, palette[indices])
        for name, samples, bits, compression, channels, picture, off in (
            ("colour15", five, 16, 0, (), colour, 8),
            ("colour16", six, 16, 3, (0xF800, 0x7E0, 0x1F, 0), colour, 8),
            ("colour24", blue_first, 24, 0, (), colour, 0),
            ("colour32", np.dstack([blue_first, empty]), 32, 0, (), colour, 0),
            (
                "alpha32",
                np.dstack([blue_first, alpha]),
                32,
                3,
                masks,
                _on_white(colour, alpha),
                1,
            ),
            ("empty-alpha32", np.dstack([blue_first, empty]), 32, 3, masks, colour, 0),
        ):
            rows = _bmp_rows(samples, bits, top_down=top_down)
            content = _bmp(rows, bits, compression=compression, masks=channels, top_down=top_down)
            yield Specimen(f"bmp-{name}{end}", content, picture, off, off)
    for bits, compression in ((8, 1), (4, 2)):
        indices, palette = _indices(16), _palette(16)
        rows = _run_lengths(indices, bits)
        content = _bmp(rows, bits, palette=palette, compression=compression)
        yield Specimen(f"bmp-runs{bits}.bmp", content, palette[indices])


def _paletted(indices: Pixels, palette: Pixels) -> Image.Image:
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.ravel().tolist())
    return image


def _whole_gif() -> Iterator[Specimen]:
    indices, palette, grey = _indices(32), _palette(32), _grey()
    image, picture = _paletted(indices, palette), palette[indices]
    for interlaced in (False, True):
        end = "-interlaced.gif" if interlaced else ".gif"
        content = _saved(image, "GIF", interlace=interlaced)
        yield Specimen(f"gif-palette{end}", content, picture)
        yield Specimen(f"gif-grey{end}", _saved(grey, "GIF", interlace=interlaced), _rgb(grey))
        content = _saved(image, "GIF", interlace=interlaced, transparency=1)
        shown = palette.copy()
        shown[1] = 255
        yield Specimen(f"gif-clear{end}", content, shown[indices])
    frames = [_paletted(np.full_like(indices, 3), palette), image]
    content = _saved(image, "GIF", save_all=True, append_images=frames)
    yield Specimen("gif-animated.gif", content, picture)
    # The frame lies somewhere on a larger canvas, whose other pixels nobody gives.
    height, width = _SHAPE
    indices = _indices(31) + np.uint8(1)
    palette = np.insert(_palette(31), 0, 0, axis=0)
    content = _saved(_paletted(indices, palette), "GIF", optimize=False)
    clear = _saved(_paletted(indices, palette), "GIF", optimize=False, transparency=2)
    shown = palette.copy()
    shown[2] = 255
    for name, whole_frame, colours in (("", content, palette), ("-clear", clear, shown)):
        moved = bytearray(whole_frame)
        moved[6:10] = struct.pack("<HH", width + 9, height + 5)
        place = moved.rindex(struct.pack("<HHHH", 0, 0, width, height))
        moved[place : place + 4] = struct.pack("<HH", 4, 3)
        canvas = np.full((height + 5, width + 9, 3), 255, np.uint8)
        canvas[3 : 3 + height, 4 : 4 + width] = colours[indices]
        yield Specimen(f"gif-part-of-canvas{name}.gif", bytes(moved), canvas)


def _whole_webp() -> Iterator[Specimen]:
    colour, alpha = _colour(), _alpha()
    layers, shown = np.dstack([colour, alpha]), _on_white(colour, alpha)
    content = _saved(colour, "WEBP", lossless=True)
    yield Specimen("webp-lossless.webp", content, colour)
    yield Specimen("webp-lossless-alpha.webp", _saved(layers, "WEBP", lossless=True), shown)
    frames = [Image.fromarray(colour[::-1].copy())]
    content = _saved(colour, "WEBP", lossless=True, save_all=True, append_images=frames)
    yield Specimen("webp-animated.webp", content, colour)
    for kind in ("WEBP", *(["AVIF"] if "avif" in features.modules else [])):
        colour, grey, alpha = _colour(_MIDDLE), _grey(_MIDDLE), _alpha(_MIDDLE)
        for name, samples, picture in (
            ("colour", colour, colour),
            ("grey", grey, _rgb(grey)),
            ("alpha", np.dstack([colour, alpha]), _on_white(colour, alpha)),
        ):
            content = _saved(samples, kind, quality=90)
            suffix = kind.lower()
            yield Specimen(f"{suffix}-lossy-{name}.{suffix}", content, picture, *_LOSSY)


# How a camera that writes this EXIF orientation has stored an upright picture.
_STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: np.rot90,
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def _turned() -> Iterator[Specimen]:
    for orientation, stored in _STORED.items():
        exif = Image.Exif()
        exif[274] = orientation
        samples = np.ascontiguousarray(stored(_colour()))
        for kind, suffix, options, mean, most in (
            ("PNG", "png", {}, 0, 0),
            ("WEBP", "webp", {"lossless": True}, 0, 0),
        ):
            content = _saved(samples, kind, exif=exif, **options)
            name = f"{kind.lower()}-turned{orientation}.{suffix}"
            yield Specimen(name, content, _colour(), mean, most)
        content = _tiff([samples], 8, 2, tags={274: [orientation]})
        yield Specimen(f"tiff-turned{orientation}.tif", content, _colour(), 0, 0)
        for shape, size in ((_MIDDLE, ""), (_LARGE, "-large")):
            samples = np.ascontiguousarray(stored(_colour(shape)))
            content = _saved(samples, "JPEG", quality=90, exif=exif)
            name = f"jpeg{size}-turned{orientation}.jpg"
            yield Specimen(name, content, _colour(shape), *_LOSSY)


def _slivers() -> Iterator[Specimen]:
    for height, width in ((1, 1), (1, 64), (64, 1), (1, 5000), (5000, 1), (3, 4000)):
        ramp = np.linspace(20, 230, height * width).round().reshape(height, width)
        grey = ramp.astype(np.uint8)
        for kind, suffix in (("PNG", "png"), ("BMP", "bmp"), ("TIFF", "tif"), ("GIF", "gif")):
            name = f"{kind.lower()}-{width}x{height}.{suffix}"
            yield Specimen(name, _saved(grey, kind), _rgb(grey))
        content = _saved(_rgb(grey), "WEBP", lossless=True)
        yield Specimen(f"webp-{width}x{height}.webp", content, _rgb(grey))
        content = _saved(grey, "JPEG", quality=95)
        yield Specimen(f"jpeg-{width}x{height}.jpg", content, _rgb(grey), 1, 3)


# Damaged files


def damaged() -> Iterator[Specimen]:
    """Files that must be refused, each with the damage in its name."""
    noisy = np.random.default_rng(3).integers(0, 256, (*_SHAPE, 3), dtype=np.uint8)
    whole_files = {
        "jpeg": _saved(noisy, "JPEG"),
        "jpeg-progressive": _saved(noisy, "JPEG", progressive=True),
        "jpeg-large": _saved(_colour(_LARGE), "JPEG", quality=90),
        "png": _saved(noisy, "PNG"),
        "png-interlaced": _png(noisy, 8, 2, interlaced=True),
        "gif": _saved(_paletted(noisy[..., 0], _palette(256)), "GIF"),
        "bmp": _saved(noisy, "BMP"),
        "tiff": _saved(noisy, "TIFF"),
        "tiff-lzw": _saved(noisy, "TIFF", compression="tiff_lzw"),
        "tiff-deflated": _saved(noisy, "TIFF", compression="tiff_adobe_deflate"),
        "webp": _saved(noisy, "WEBP"),
        "webp-lossless": _saved(noisy, "WEBP", lossless=True),
    }
    if "avif" in features.modules:
        whole_files["avif"] = _saved(noisy, "AVIF")
    for name, content in whole_files.items():
        suffix = name.partition("-")[0]
        for tenth in range(1, 10):
            cut = content[: len(content) * tenth // 10]
            yield Specimen(f"{name}-cut-at-{tenth}-tenths.{suffix}", cut, None)
        yield Specimen(f"{name}-without-header.{suffix}", bytes(16) + content[16:], None)
        yield Specimen(f"{name}-of-zeros.{suffix}", bytes(len(content)), None)
    yield from _foreign()
    yield from _bombs(whole_files)
    yield from _damaged_png(whole_files["png"])
    yield from _damaged_bodies(whole_files)


def _foreign() -> Iterator[Specimen]:
    contents = {
        "empty": b"",
        "text": b"Sold out.\n",
        "html": b"<!DOCTYPE html><html><head><title>404 Not Found</title></head></html>\n",
        "json": b'{"error": "rate limit exceeded"}\n',
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>\n',
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\nshowpage\n",
        "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF\n",
        "zip": b"PK\5\6" + bytes(18),
        "video": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(64),
        "noise": np.random.default_rng(4).integers(0, 256, 5000, dtype=np.uint8).tobytes(),
        "portable": b"P6 2 2 255\n" + bytes(12),
    }
    for kind, content in contents.items():
        for suffix in ("jpg", "png", "webp"):
            yield Specimen(f"foreign-{kind}.{suffix}", content, None)


def _bombs(whole_files: dict[str, bytes]) -> Iterator[Specimen]:
    for bits, colour in ((1, 0), (8, 2), (16, 6)):
        header = struct.pack(">IIBBBBB", _BOMB, _BOMB, bits, colour, 0, 0, 0)
        content = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)
        content += _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b"")
        yield Specimen(f"bomb-{bits}-{colour}.png", content, None)
    for name in ("jpeg", "jpeg-progressive"):
        content = whole_files[name]
        frame = content.index(b"\xff\xc2" if "progressive" in name else b"\xff\xc0") + 5
        content = content[:frame] + struct.pack(">HH", _BOMB, _BOMB) + content[frame + 4 :]
        yield Specimen(f"bomb-{name}.jpg", content, None)
    content = whole_files["gif"]
    yield Specimen("bomb.gif", content[:6] + struct.pack("<HH", _BOMB, _BOMB) + content[10:], None)
    content = whole_files["bmp"]
    yield Specimen("bomb.bmp", content[:18] + struct.pack("<ii", _BOMB, _BOMB) + content[26:], None)
    content = _tiff([_grey()], 8, 1, tags={256: [_BOMB], 257: [_BOMB]})
    yield Specimen("bomb.tif", content, None)
    content = _tiff([_grey()], 8, 1, deflated=True, tags={256: [_BOMB], 257: [_BOMB]})
    yield Specimen("bomb-deflated.tif", content, None)


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """A PNG's chunks: name, and where its data begin and end."""
    place = 8
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        yield content[place + 4 : place + 8], place + 8, place + 8 + length
        place += length + 12


def _damaged_png(content: bytes) -> Iterator[Specimen]:
    places = {name: (begin, end) for name, begin, end in _chunks(content)}
    palette = _chunk(b"PLTE", _palette(4).tobytes())
    paletted = _png(_indices(4), 2, 3, palette, interlaced=False)
    places_paletted = {name: (begin, end) for name, begin, end in _chunks(paletted)}
    for name, whole_file, (_, end) in (
        ("header", content, places[b"IHDR"]),
        ("pixels", content, places[b"IDAT"]),
        ("palette", paletted, places_paletted[b"PLTE"]),
    ):
        broken = bytearray(whole_file)
        broken[end] ^= 1
        yield Specimen(f"png-wrong-sum-of-{name}.png", bytes(broken), None)
    begin, end = places[b"IDAT"]
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        broken = bytearray(content)
        broken[begin + int(share * (end - begin))] ^= 0x10
        yield Specimen(f"png-flipped-bit-at-{share}.png", bytes(broken), None)
    without = content[: begin - 8] + content[end + 4 :]
    yield Specimen("png-without-pixels.png", without, None)
    noise = np.random.default_rng(5).integers(0, 256, end - begin, dtype=np.uint8).tobytes()
    of_noise = content[: begin - 8] + _chunk(b"IDAT", noise) + content[end + 4 :]
    yield Specimen("png-noise-for-pixels.png", of_noise, None)
    few = _chunk(b"IDAT", zlib.compress(bytes(500)))
    yield Specimen("png-few-pixels.png", content[: begin - 8] + few + content[end + 4 :], None)
    for width, height in ((0, 5), (5, 0)):
        yield Specimen(
            f"png-{width}x{height}.png",
            content[:8]
            + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + content[33:],
            None,
        )
    for bits, colour in ((3, 0), (8, 5), (16, 3)):
        header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 48, bits, colour, 0, 0, 0))
        strange = content[:8] + header + content[33:]
        yield Specimen(f"png-no-such-kind-{bits}-{colour}.png", strange, None)
    without = paletted.replace(palette, b"")
    yield Specimen("png-without-palette.png", without, None)


def _damaged_bodies(whole_files: dict[str, bytes]) -> Iterator[Specimen]:
    rng = np.random.default_rng(6)
    for name in ("gif", "tiff-lzw"):
        broken = bytearray(whole_files[name])
        third = len(broken) // 3
        broken[third : 2 * third] = rng.integers(0, 256, third, dtype=np.uint8).tobytes()
        yield Specimen(f"{name}-noise-for-pixels.{name[:3]}", bytes(broken), None)
    jpeg = whole_files["jpeg"]
    scan = jpeg.index(b"\xff\xda")
    yield Specimen("jpeg-without-scan.jpg", jpeg[:scan] + b"\xff\xd9", None)
    for marker, name in ((0xDB, "quantisation"), (0xC0, "frame")):
        yield Specimen(f"jpeg-without-{name}.jpg", _without(jpeg, marker), None)
    yield Specimen("jpeg-tiny.jpg", jpeg[:4], None)
    bmp = whole_files["bmp"]
    taller = bmp[:22] + struct.pack("<i", 2 * _SHAPE[0]) + bmp[26:]
    yield Specimen("bmp-taller-than-its-pixels.bmp", taller, None)
    yield Specimen("bmp-no-such-depth.bmp", bmp[:28] + b"\7\0" + bmp[30:], None)
    tiff = whole_files["tiff"]
    far = tiff[:4] + struct.pack("<I", 10 * len(tiff)) + tiff[8:]
    yield Specimen("tiff-directory-past-the-end.tif", far, None)
    content = _tiff([_grey()], 8, 1, tags={273: [1_000_000]})
    yield Specimen("tiff-pixels-past-the-end.tif", content, None)
    content = _saved(Image.fromarray(np.ones(_SHAPE, np.float32)), "TIFF")
    yield Specimen("tiff-of-fractions.tif", content, None)
    planes = list(_wide(_colour()).transpose(2, 0, 1))
    yield Specimen("tiff-planes16.tif", _tiff(planes, 16, 2), None)
    content = _tiff([_wide(_grey())], 16, 0, order=">")
    yield Specimen("tiff-white-is-zero16-big.tif", content, None)
    for name in ("webp", "webp-lossless"):
        broken = bytearray(whole_files[name])
        broken[20:30] = b"\xff" * 10
        yield Specimen(f"{name}-broken-start.webp", bytes(broken), None)


def specimens() -> list[Specimen]:
    """The whole set, whole files first."""
    return [*whole(), *damaged()]
