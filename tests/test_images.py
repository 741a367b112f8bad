from __future__ import annotations

import io
import itertools
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageOps

from hashsearch.datasets import fashion_mnist
from hashsearch.datasets.item import Item, read_item
from hashsearch.errors import EncoderError, ImageError
from hashsearch.images import (
    FASHION_MNIST,
    Preprocessing,
    normalise,
    read_image,
    thumbnail,
    to_pixels,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)
GREY = np.arange(0, 240, 20, dtype=np.uint8).reshape(3, 4)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=2)
PHOTO = Preprocessing(
    kind="photo", size=6, resize=8, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)


LARGE_PHOTO = Preprocessing("photo", 224, 256, PHOTO.mean, PHOTO.std)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + checksum


def png(size: tuple[int, int], depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG of samples that Pillow cannot write; each row starts with its filter, 0."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    chunks = [
        chunk(b"IHDR", header),
        extra,
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def colours(image: Image.Image) -> list[tuple[int, ...]]:
    """The pixels of the first row, RGB."""
    return [tuple(pixel) for pixel in np.asarray(image.convert("RGB"))[0].tolist()]


def refusal(source: Any) -> str:
    """The one line with which an image is refused."""
    with pytest.raises(ImageError) as caught:
        read_image(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


# Kinds of image


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP"])
def test_grey_and_colour_files_keep_their_values(kind: str) -> None:
    lossless = {"lossless": True} if kind == "WEBP" else {}
    grey = read_image(encoded(Image.fromarray(GREY), kind, **lossless))
    assert_array_equal(np.asarray(grey.convert("L")), GREY)
    if kind != "GIF":
        colour = read_image(encoded(Image.fromarray(COLOUR), kind, **lossless))
        assert colour.mode == "RGB"
        assert_array_equal(np.asarray(colour), COLOUR)


@pytest.mark.parametrize("array", [GREY, COLOUR])
def test_a_jpeg_comes_close_to_its_source(array: Pixels) -> None:
    flat = np.full((16, 16, *array.shape[2:]), 90, np.uint8)
    image = read_image(encoded(Image.fromarray(flat), "JPEG", quality=95))
    assert image.mode == ("L" if array.ndim == 2 else "RGB")
    assert_allclose(np.asarray(image), flat, atol=1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_saturated(kind: str) -> None:
    samples = (np.arange(12).reshape(3, 4) * 5957).astype(np.uint16)
    image = read_image(encoded(Image.fromarray(samples), kind))
    assert image.mode == "L"
    assert_array_equal(np.asarray(image), np.round(samples / 257))


@given(arrays(np.uint8, (2, 3)))
def test_16_bit_copies_of_8_bit_images_are_the_same_images(samples: Pixels) -> None:
    wide = Image.fromarray(samples.astype(np.uint16) * 257)
    assert_array_equal(np.asarray(read_image(wide)), samples)


def test_16_bit_grey_that_stands_for_nothing_is_white() -> None:
    rows = b"\0" + struct.pack(">HH", 1000, 30000)
    image = read_image(png((2, 1), 16, 0, rows, chunk(b"tRNS", struct.pack(">H", 1000))))
    assert_array_equal(np.asarray(image), [[255, round(30000 / 257)]])


def test_32_bit_samples_within_16_bits_are_scaled_and_others_refused() -> None:
    samples = np.array([[0, 257, 65535]], dtype=np.int32)
    assert_array_equal(np.asarray(read_image(Image.fromarray(samples))), [[0, 1, 255]])
    for beyond in (-1, 65536):
        samples[0, 1] = beyond
        assert "samples of kind I, whose white is unknown" in refusal(Image.fromarray(samples))


def retagged(data: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF with another value of a tag that holds one short."""
    entry = struct.pack("<HHI", tag, 3, 1)
    place = data.index(entry) + len(entry)
    return data[:place] + struct.pack("<H", value) + data[place + 2 :]


def test_16_bit_grey_whose_zero_is_white_is_inverted() -> None:
    data = encoded(Image.fromarray(GREY.astype(np.uint16) * 257), "TIFF")
    assert_array_equal(np.asarray(read_image(retagged(data, 262, 0))), 255 - GREY)


def test_12_bit_grey_is_scaled_by_its_own_white() -> None:
    packed = np.frombuffer(bytes.fromhex("000800fff123"), "<u2")  # 000, 800, fff, 123
    data = encoded(Image.fromarray(np.append(packed, np.uint16(0))[None]), "TIFF")
    assert_array_equal(np.asarray(read_image(retagged(data, 258, 12))), [[0, 128, 255, 18]])


def test_16_bit_samples_that_lie_plane_by_plane_are_refused() -> None:
    data = encoded(Image.fromarray(COLOUR), "TIFF")
    data = data.replace(struct.pack("<3H", 8, 8, 8), struct.pack("<3H", 16, 16, 16))
    assert "16-bit samples that lie plane by plane" in refusal(retagged(data, 284, 2))


def test_16_bit_colour_is_scaled() -> None:
    rows = b"\0" + struct.pack(">6H", 0, 30000, 65535, 65535, 257, 0)
    (first, second) = colours(read_image(png((2, 1), 16, 2, rows)))
    assert_allclose([first, second], [(0, 117, 255), (255, 1, 0)], atol=1)


def test_16_bit_alpha_is_laid_on_white() -> None:
    rows = b"\0" + struct.pack(">8H", 65535, 0, 0, 65535, 65535, 0, 0, 0)
    assert colours(read_image(png((2, 1), 16, 6, rows))) == [RED, WHITE]


def palette_image() -> Image.Image:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putdata([0, 1])
    return image


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_a_palette_becomes_colours(kind: str) -> None:
    assert colours(read_image(encoded(palette_image(), kind))) == [RED, GREEN]


@pytest.mark.parametrize(("kind", "transparency"), [("PNG", 0), ("PNG", b"\0\xff"), ("GIF", 0)])
def test_a_transparent_palette_entry_is_white(kind: str, transparency: int | bytes) -> None:
    data = encoded(palette_image(), kind, transparency=transparency)
    assert colours(read_image(data)) == [WHITE, GREEN]


def test_a_transparent_colour_or_grey_is_white() -> None:
    colour = Image.fromarray(np.array([[RED, GREEN]], dtype=np.uint8))
    assert colours(read_image(encoded(colour, "PNG", transparency=RED))) == [WHITE, GREEN]
    grey = Image.fromarray(np.array([[7, 9]], dtype=np.uint8))
    assert colours(read_image(encoded(grey, "PNG", transparency=7))) == [WHITE, (9, 9, 9)]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_laid_on_white_and_hides_colour(kind: str) -> None:
    pixels = np.array([[(*RED, 255), (*RED, 0), (0, 0, 0, 128)]], dtype=np.uint8)
    lossless = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    opaque, hidden, half = colours(read_image(encoded(Image.fromarray(pixels), kind, **lossless)))
    assert (opaque, hidden) == (RED, WHITE)
    assert_allclose(half, 127, atol=1)


def test_grey_with_alpha_is_laid_on_white() -> None:
    image = Image.merge("LA", (Image.new("L", (1, 1), 10), Image.new("L", (1, 1), 0)))
    assert colours(read_image(encoded(image, "PNG"))) == [WHITE]


@pytest.mark.parametrize("mode", ["LA", "La", "RGBA", "RGBa", "PA"])
def test_every_mode_with_alpha_is_laid_on_white(mode: str) -> None:
    if mode == "PA":
        image = Image.new("P", (1, 1))
        image.putpalette([100, 100, 100])
        image.putalpha(51)
    else:
        with_alpha = mode.replace("a", "A")
        image = Image.new("LA", (1, 1), (100, 51)).convert(with_alpha).convert(mode)
    assert image.mode == mode
    assert_allclose(colours(read_image(image)), [(224, 224, 224)], atol=2)


@pytest.mark.parametrize(("bits", "stretch"), [(1, 255), (2, 85), (4, 17)])
@pytest.mark.parametrize("clear", [0, 1])
def test_a_transparent_grey_of_few_bits_is_white(bits: int, stretch: int, clear: int) -> None:
    row = bytes([0, 1 << (8 - 2 * bits)])  # the samples 0 and 1
    transparent = chunk(b"tRNS", struct.pack(">H", clear))
    levels = [[0, stretch][sample] if sample != clear else 255 for sample in (0, 1)]
    image = read_image(png((2, 1), bits, 0, row, transparent))
    assert colours(image) == [(level, level, level) for level in levels]


def test_a_transparent_16_bit_colour_is_white() -> None:
    samples = (2560, 20000, 65000), (2561, 30000, 65000)
    row = b"\0" + struct.pack(">6H", *samples[0], *samples[1])
    transparent = chunk(b"tRNS", struct.pack(">3H", *samples[0]))
    hidden, shown = colours(read_image(png((2, 1), 16, 2, row, transparent)))
    assert hidden == WHITE
    assert_allclose(shown, (10, 117, 253), atol=1)


@pytest.mark.parametrize("alpha", [(0, 0), (0, 255)])
def test_alpha_that_a_bmp_leaves_empty_hides_nothing(alpha: tuple[int, int]) -> None:
    rows = bytes([0, 0, 255, alpha[0], 0, 255, 0, alpha[1]])  # blue, green, red, alpha
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 2, 1, 1, 32, 3, len(rows), 0, 0, 0, 0) + masks
    content = struct.pack("<2sIHHI", b"BM", 130, 0, 0, 122) + header.ljust(108, b"\0") + rows
    assert colours(read_image(content)) == [WHITE if any(alpha) else RED, GREEN]


@pytest.mark.parametrize("transparency", [None, 1])
def test_what_the_first_frame_of_a_gif_leaves_uncovered_is_white(transparency: int | None) -> None:
    options = {} if transparency is None else {"transparency": transparency}
    content = bytearray(encoded(palette_image(), "GIF", **options))
    content[6:10] = struct.pack("<HH", 4, 2)  # the canvas
    place = content.rindex(struct.pack("<HHHH", 0, 0, 2, 1))
    content[place : place + 4] = struct.pack("<HH", 1, 1)  # where on it the frame lies
    image = read_image(bytes(content))
    assert colours(image) == [WHITE] * 4
    frame = [RED, GREEN if transparency is None else WHITE]
    assert colours(image.crop((0, 1, 4, 2))) == [WHITE, *frame, WHITE]


def test_a_cmyk_jpeg_becomes_rgb() -> None:
    red = Image.new("RGB", (16, 16), (200, 30, 30)).convert("CMYK")
    image = read_image(encoded(red, "JPEG", quality=95))
    assert image.mode == "RGB"
    assert_allclose(np.asarray(image)[8, 8], (200, 30, 30), atol=6)


def test_a_later_frame_that_the_caller_chose_is_taken_whole() -> None:
    second = palette_image()
    second.putdata([0, 0])  # differs from the first in one pixel, which alone is stored
    content = encoded(palette_image(), "GIF", save_all=True, append_images=[second])
    with Image.open(io.BytesIO(content)) as image:
        image.seek(1)
        assert colours(read_image(image)) == [RED, RED]


def test_a_cmyk_jpeg_whose_inks_are_coded_as_colours_becomes_rgb() -> None:
    inks = Image.new("CMYK", (16, 16), (30, 120, 200, 40))
    cyan, magenta, yellow, black = inks.split()
    luma = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr")
    stored = Image.merge("CMYK", (*(ImageOps.invert(band) for band in luma.split()), black))
    content = bytearray(encoded(stored, "JPEG", quality=95))
    content[content.index(b"Adobe") + 11] = 2  # its transform: YCCK
    expected = [round((255 - ink) * (255 - 40) / 255) for ink in (30, 120, 200)]
    assert_allclose(np.asarray(read_image(bytes(content)))[8, 8], expected, atol=3)


def test_of_a_phone_s_two_pictures_the_first_is_taken() -> None:
    first, second = (Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN))
    content = encoded(first, "MPO", save_all=True, append_images=[second])
    assert_allclose(np.asarray(read_image(content))[8, 8], RED, atol=3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_one_bit_becomes_grey(kind: str) -> None:
    image = Image.fromarray(np.array([[0, 255, 255]], dtype=np.uint8)).convert("1")
    assert colours(read_image(encoded(image, kind))) == [(0, 0, 0), WHITE, WHITE]


def test_the_first_of_several_frames_is_taken() -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in (RED, GREEN)]
    for kind in ("GIF", "TIFF", "WEBP", "PNG"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert_allclose(colours(read_image(data))[0], RED, atol=5)


STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: np.rot90,
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}
"""How a camera that writes this EXIF orientation stores an upright image."""


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_a_turned_photo_is_turned_upright(orientation: int, kind: str, tmp_path: Path) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](COLOUR)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if kind == "WEBP" else {}
    path = tmp_path / "turned"
    path.write_bytes(encoded(stored, kind, exif=exif, **lossless))
    upright = read_image(path)
    assert_array_equal(np.asarray(upright), COLOUR)
    assert_array_equal(np.asarray(read_image(upright)), COLOUR)


def test_a_turned_jpeg_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_image(encoded(Image.new("RGB", (32, 16)), "JPEG", exif=exif)).size == (16, 32)


@pytest.mark.parametrize("exif", [b"garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_lose_the_photo(exif: bytes) -> None:
    image = read_image(encoded(Image.new("L", (5, 3), 40), "JPEG", exif=exif))
    assert_allclose(np.asarray(image), np.full((3, 5), 40), atol=1)


# Sources


def test_every_source_gives_the_same_pixels(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(COLOUR), "PNG")
    path = tmp_path / "item.png"
    path.write_bytes(data)
    with path.open("rb") as stream:
        sources: list[Any] = [
            path,
            str(path),
            data,
            stream,
            io.BytesIO(data),
            Image.fromarray(COLOUR),
            COLOUR,
        ]
        for source in sources:
            assert_array_equal(np.asarray(read_image(source)), COLOUR)
        assert not stream.closed


def test_the_answer_is_no_view_of_the_source() -> None:
    array, image = GREY.copy(), Image.fromarray(GREY)
    answers = [read_image(array), read_image(image)]
    array[:] = 0
    image.paste(0, (0, 0, *image.size))
    for answer in answers:
        assert_array_equal(np.asarray(answer), GREY)


def test_an_array_with_alpha_is_laid_on_white() -> None:
    pixels = np.array([[(*RED, 255), (*RED, 0)]], dtype=np.uint8)
    assert colours(read_image(pixels)) == [RED, WHITE]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4), np.uint16),
        np.zeros((4, 4), bool),
        np.zeros(4, np.uint8),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
)
def test_an_array_of_another_kind_is_refused(array: Any) -> None:
    assert refusal(array) == (
        "an image array must be uint8 (height, width) or (height, width, 3 or 4), "
        f"not {array.dtype} {array.shape}"
    )


@pytest.mark.parametrize(
    "empty", [np.zeros((0, 4), np.uint8), np.zeros((4, 0, 3), np.uint8), Image.new("L", (0, 3))]
)
def test_an_image_of_no_pixels_is_refused(empty: Any) -> None:
    assert "has no pixels" in refusal(empty)


@pytest.mark.parametrize("source", [None, 3, ["a.jpg"]])
def test_what_is_no_source_is_refused(source: Any) -> None:
    message = refusal(source)
    assert message.startswith(type(source).__name__)
    assert "give a path" in message


# Bad files


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path} is a folder; name an image file in it"


@pytest.mark.parametrize("name", ["absent.jpg", "item.png/absent.jpg"])
def test_a_missing_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "item.png").write_bytes(encoded(Image.fromarray(GREY), "PNG"))
    assert refusal(tmp_path / name) == f"{tmp_path / name}: no such file; check its name and folder"


@pytest.mark.parametrize(
    "content", [b"", b"no picture\n", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n\n"]
)
def test_a_file_of_something_else_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "note.jpg"
    path.write_bytes(content)
    message = refusal(path)
    assert message.startswith(f"{path} is not an image that can be read; use ")
    assert message.endswith("JPEG, PNG, WEBP, GIF, BMP or TIFF")
    assert "bytes is not an image" in refusal(content)


NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_file_cut_short_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"cut.{kind.lower()}"
    whole = encoded(Image.fromarray(NOISE), kind)
    path.write_bytes(whole[: len(whole) // 2])
    message = refusal(path)
    assert message.startswith(f"{path} is ")
    assert message.endswith(("get the file anew", "BMP or TIFF"))


@given(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF"]), st.data())
def test_a_damaged_file_is_read_or_refused(kind: str, data: st.DataObject) -> None:
    content = bytearray(encoded(Image.fromarray(COLOUR), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = read_image(bytes(content[: data.draw(st.integers(0, len(content)))]))
    except ImageError as error:
        assert "\n" not in str(error)  # noqa: PT017 - being read is as good an outcome
    else:
        assert image.mode in {"L", "RGB"}


@pytest.mark.parametrize("side", [10_001, 30_000])
def test_a_huge_image_is_refused_before_it_is_decoded(side: int, tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png((side, side), 1, 0, b""))
    message = refusal(path)
    assert message.startswith(str(path))
    assert message.endswith("more than 89 million pixels; scale it down first")


def test_images_of_strangers_may_have_a_lower_limit() -> None:
    content = encoded(Image.new("L", (1000, 2001)), "PNG")
    assert read_image(content).size == read_image(content, max_pixels=2_001_000).size
    with pytest.raises(ImageError, match=r"\(1000 x 2001\): more than 2 million pixels; scale"):
        read_image(content, max_pixels=2_000_000)


def test_samples_without_a_known_white_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "float.tif"
    path.write_bytes(encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"))
    assert refusal(path) == (
        f"{path} has samples of kind F, whose white is unknown; "
        "save it as grey or RGB with 8 or 16 bits"
    )


def test_pixels_whose_checksum_is_wrong_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "item.png"
    content = bytearray(encoded(Image.fromarray(COLOUR), "PNG"))
    content[content.index(b"IEND") - 5] ^= 1  # the last byte of the sum of the pixels
    path.write_bytes(content)
    assert refusal(path) == f"{path} is damaged or cut short (wrong checksum); get the file anew"
    with path.open("rb") as stream:
        assert "wrong checksum" in refusal(stream)


def test_a_png_is_read_that_lacks_what_comes_after_its_pixels() -> None:
    content = encoded(Image.fromarray(COLOUR), "PNG")
    assert_array_equal(np.asarray(read_image(content[: content.index(b"IEND") - 4])), COLOUR)


def test_a_file_without_its_palette_is_refused() -> None:
    assert "damaged or cut short (no palette)" in refusal(png((2, 1), 8, 3, b"\0\0\1"))


# Decoding in part


def smooth(height: int, width: int) -> Pixels:
    """A picture ``uint8 (height, width, 3)`` that is hardly changed by being reduced."""
    y, x = np.mgrid[:height, :width]
    planes = [200 * x / width, 200 * y / height, 100 + 0 * x]
    return np.stack(planes, axis=2).astype(np.uint8)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(
    ("least_side", "size"),
    [
        (None, (403, 301)),
        (400, (403, 301)),
        (151, (403, 301)),
        (150, (202, 151)),
        (76, (202, 151)),
        (75, (101, 76)),
        (37, (51, 38)),
        (1, (51, 38)),
    ],
)
def test_a_large_jpeg_is_decoded_no_smaller_than_asked(
    mode: str, progressive: bool, least_side: int | None, size: tuple[int, int]
) -> None:
    image = Image.fromarray(smooth(301, 403)).convert(mode)
    content = encoded(image, "JPEG", quality=95, progressive=progressive)
    found = read_image(content, least_side=least_side)
    assert found.size == size
    assert found.mode == ("L" if mode == "L" else "RGB")
    whole = np.asarray(read_image(content).resize(size, Image.Resampling.BOX)).astype(int)
    assert_allclose(np.asarray(found), whole, atol=8)


def test_of_a_phone_s_two_pictures_the_first_is_decoded_in_part() -> None:
    first, second = (Image.new("RGB", (400, 300), colour) for colour in (RED, GREEN))
    content = encoded(first, "MPO", save_all=True, append_images=[second])
    part = read_image(content, least_side=150)
    assert part.size == (200, 150)
    assert_allclose(np.asarray(part)[8, 8], RED, atol=3)


def test_a_turned_jpeg_is_decoded_in_part_and_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(Image.new("RGB", (400, 300)), "JPEG", exif=exif)
    assert read_image(content, least_side=150).size == (150, 200)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_other_files_are_decoded_whole(kind: str) -> None:
    content = encoded(Image.new("RGB", (400, 300)), kind)
    assert read_image(content, least_side=10).size == (400, 300)


def test_an_image_of_the_caller_is_left_as_it_is() -> None:
    image = Image.open(io.BytesIO(encoded(Image.new("RGB", (400, 300)), "JPEG")))
    assert read_image(image, least_side=10).size == (400, 300)
    assert image.size == (400, 300)


def test_a_cut_or_huge_file_is_refused_in_part_too(tmp_path: Path) -> None:
    path = tmp_path / "item.jpg"
    content = encoded(Image.fromarray(np.tile(NOISE, (8, 8, 1))), "JPEG")
    for damaged in (
        content[: len(content) * 2 // 3],
        content.replace(struct.pack(">HH", 512, 512), struct.pack(">HH", 60_000, 60_000)),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ImageError, match=str(path)):
            read_image(path, least_side=8)


def test_what_is_kept_goes_by_the_size_that_is_needed() -> None:
    assert FASHION_MNIST.least_side == LARGE_PHOTO.least_side == 448
    assert PHOTO.least_side == 14


@pytest.mark.parametrize("preprocessing", [LARGE_PHOTO, FASHION_MNIST])
def test_every_encoded_source_is_decoded_alike(
    preprocessing: Preprocessing, tmp_path: Path
) -> None:
    pixels = np.full((1000, 1200, 3), 255, np.uint8)
    pixels[100:900, 250:950] = smooth(800, 700)
    path = tmp_path / "item.jpg"
    path.write_bytes(encoded(Image.fromarray(pixels), "JPEG", quality=90))
    part = read_image(path, least_side=preprocessing.least_side)
    assert part.size == (600, 500)
    assert thumbnail(part) == thumbnail(read_item(Item("1", path), preprocessing))
    assert read_image(thumbnail(part)).size == (96, 80)
    expected = to_pixels(part, preprocessing)
    for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
        assert_array_equal(to_pixels(source, preprocessing), expected)
    # What is seen is what is seen of the whole: a mirrored item is several times as far.
    whole = to_pixels(read_image(path), preprocessing).astype(int)
    assert np.abs(expected - whole).mean() < np.abs(whole[..., ::-1] - whole).mean() / 5


def test_an_item_is_decoded_in_part_unless_a_box_counts_in_its_pixels() -> None:
    content = encoded(Image.fromarray(smooth(1000, 1200)), "JPEG")
    assert read_item(Item("1", content)).size == (1200, 1000)
    assert read_item(Item("1", content), FASHION_MNIST).size == (600, 500)
    boxed = Item("1", content, box=(600, 100, 1100, 900))
    assert read_item(boxed, FASHION_MNIST).size == (500, 800)


# Preprocessing


@pytest.mark.parametrize("preprocessing", [PHOTO, FASHION_MNIST])
def test_a_record_gives_the_preprocessing_back(preprocessing: Preprocessing) -> None:
    assert Preprocessing.from_record(preprocessing.to_record()) == preprocessing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "sketch"}, "unknown preprocessing 'sketch'; known: photo, fashion-mnist"),
        ({"mean": (0.5,), "std": (0.5,)}, "takes 3 mean and std"),
        ({"std": (0.2, 0.2, 0.0)}, "std above 0"),
        ({"mean": (0.2, 0.2, float("nan"))}, "std above 0"),
        ({"size": 0}, "0 < size <= resize"),
        ({"size": 9}, "0 < size <= resize"),
        ({"size": "wide"}, "not usable"),
        ({"mean": 3}, "not usable"),
    ],
)
def test_a_record_that_cannot_be_carried_out_is_refused(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(EncoderError, match=message):
        Preprocessing.from_record({**PHOTO.to_record(), **change})


def test_a_record_with_a_field_missing_is_refused() -> None:
    record = PHOTO.to_record()
    del record["resize"]
    with pytest.raises(EncoderError, match="resize"):
        Preprocessing.from_record(record)


@pytest.mark.parametrize("preprocessing", [PHOTO, FASHION_MNIST])
def test_normalised_pixels_follow_the_formula(preprocessing: Preprocessing) -> None:
    size, channels = preprocessing.size, preprocessing.channels
    generator = np.random.default_rng(1)
    pixels = generator.integers(0, 256, (5, channels, size, size), dtype=np.uint8)
    before = pixels.copy()
    answer = normalise(pixels, preprocessing)
    assert answer.dtype == np.float32
    for image, channel in np.ndindex(5, channels):
        mean, std = preprocessing.mean[channel], preprocessing.std[channel]
        expected = (pixels[image, channel].astype(float) / 255 - mean) / std
        assert_allclose(answer[image, channel], expected, rtol=1e-5, atol=1e-6)
    assert_array_equal(pixels, before)


def test_a_thumbnail_fits_and_is_never_enlarged() -> None:
    large = read_image(thumbnail(Image.new("RGB", (300, 150), RED), side=96))
    assert large.size == (96, 48)
    assert read_image(thumbnail(Image.new("L", (10, 20)))).size == (10, 20)


# Preprocessing: photo


@pytest.mark.parametrize("size", [(64, 64), (90, 40), (41, 77), (8, 8), (3, 5), (1, 1), (400, 3)])
def test_a_photo_is_prepared_as_torchvision_does(size: tuple[int, int]) -> None:
    transforms = pytest.importorskip("torchvision.transforms.v2.functional")
    width, height = size
    pixels = np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = transforms.resize(Image.fromarray(pixels), PHOTO.resize)
    expected = np.asarray(transforms.center_crop(image, PHOTO.size)).transpose(2, 0, 1)
    answer = to_pixels(pixels, PHOTO)
    assert answer.dtype == np.uint8
    assert_allclose(answer.astype(int), expected.astype(int), atol=1)


def test_a_photo_keeps_its_centre() -> None:
    pixels = np.zeros((80, 200, 3), np.uint8)
    pixels[:, 60:140] = RED
    assert_array_equal(
        to_pixels(pixels, PHOTO), np.broadcast_to(np.reshape(RED, (3, 1, 1)), (3, 6, 6))
    )


def test_a_grey_photo_has_three_equal_channels() -> None:
    red, green, blue = to_pixels(GREY, PHOTO)
    assert_array_equal(red, green)
    assert_array_equal(red, blue)


def test_a_sliver_of_a_photo_needs_no_more_memory_than_itself() -> None:
    preprocessing = Preprocessing("photo", 224, 256, (0.5,) * 3, (0.5,) * 3)
    sliver = np.full((1, 2_000_000), 9, np.uint8)  # scaled whole, it would be 131 terapixels
    assert_array_equal(to_pixels(sliver, preprocessing), np.full((3, 224, 224), 9))


# Preprocessing: fashion-mnist


def item_images(count: int) -> Pixels:
    """Sample images ``uint8 (count, 28, 28)`` of every type, those whose item fills a side."""
    images = fashion_mnist.sample().images
    visible = images > 12
    fills = np.all(visible.any(axis=2), axis=1) | np.all(visible.any(axis=1), axis=1)
    chosen: Pixels = images[fills][:count]
    return chosen


def product_photo(item: Pixels, resampling: Image.Resampling) -> Image.Image:
    """The item ten times as large, dark on bright, on a white canvas, off the centre."""
    framed = Image.fromarray(np.pad(item, 2)).resize((320, 320), resampling)
    canvas = Image.new("RGB", (400, 500), "white")
    canvas.paste(ImageOps.invert(framed).convert("RGB"), (60, 70))
    return canvas


def mean_difference(first: Pixels, second: Pixels) -> float:
    return float(np.abs(first.astype(int) - second.astype(int)).mean())


def test_an_image_of_the_data_set_is_unchanged(tmp_path: Path) -> None:
    (image,) = item_images(1)
    path = tmp_path / "item.png"
    path.write_bytes(encoded(Image.fromarray(image).convert("RGB"), "PNG"))
    for source in (image, path):
        pixels = to_pixels(source, FASHION_MNIST)
        assert pixels.shape == (1, 28, 28)
        assert_array_equal(pixels[0], image)


@pytest.mark.parametrize(
    ("resampling", "levels"), [(Image.Resampling.NEAREST, 2.0), (Image.Resampling.BICUBIC, 12.0)]
)
def test_a_product_photo_comes_back_close_to_the_image(
    resampling: Image.Resampling, levels: float
) -> None:
    items = item_images(100)
    differences = [
        mean_difference(to_pixels(product_photo(item, resampling), FASHION_MNIST)[0], item)
        for item in items
    ]
    assert np.mean(differences) < levels
    # Another item is several times as far.
    others = [mean_difference(item, other) for item, other in itertools.pairwise(items)]
    assert np.mean(differences) < np.mean(others) / 3


def test_jpeg_noise_around_the_item_is_trimmed() -> None:
    for item in item_images(10):
        photo = product_photo(item, Image.Resampling.BICUBIC)
        clean = to_pixels(photo, FASHION_MNIST)
        assert (
            mean_difference(to_pixels(encoded(photo, "JPEG", quality=90), FASHION_MNIST), clean) < 5
        )


@pytest.mark.parametrize("background", [0, 255])
def test_a_dark_and_a_bright_background_both_become_black(background: int) -> None:
    canvas = np.full((100, 80), background, np.uint8)
    canvas[20:76, 10:38] = 255 - background
    expected = np.zeros((28, 28), np.uint8)
    expected[:, 7:21] = 255
    assert_array_equal(to_pixels(canvas, FASHION_MNIST)[0], expected)


def test_an_odd_margin_has_its_extra_pixel_left_or_above() -> None:
    canvas = np.zeros((60, 60), np.uint8)
    canvas[2:58, 4:30] = 200  # 56 x 26 becomes 28 x 13
    upright = to_pixels(canvas, FASHION_MNIST)[0]
    assert_array_equal(np.flatnonzero(upright.any(axis=0)), np.arange(8, 21))
    assert_array_equal(to_pixels(canvas.T.copy(), FASHION_MNIST)[0], upright.T)


def test_an_item_at_the_border_is_kept_whole() -> None:
    canvas = np.full((56, 56), 255, np.uint8)
    canvas[:, 20:48] = 55
    expected = np.zeros((28, 28), np.uint8)
    expected[:, 7:21] = 200
    assert_array_equal(to_pixels(canvas, FASHION_MNIST)[0], expected)


def test_a_coloured_background_is_trimmed() -> None:
    canvas = np.full((60, 90, 3), (250, 240, 150), np.uint8)
    canvas[10:38, 30:58] = 0
    assert_array_equal(to_pixels(canvas, FASHION_MNIST)[0], np.full((28, 28), 255))


@pytest.mark.parametrize("level", [0, 60, 200, 255])
def test_a_blank_image_stays_blank(level: int) -> None:
    pixels = to_pixels(np.full((50, 70), level, np.uint8), FASHION_MNIST)
    assert_array_equal(pixels, np.full((1, 28, 28), min(level, 255 - level)))


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_grey_is_prepared_as_the_same_colours_are(image: Pixels) -> None:
    colour = np.repeat(image[..., None], 3, axis=2)
    assert_array_equal(to_pixels(image, FASHION_MNIST), to_pixels(colour, FASHION_MNIST))


@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_every_image_becomes_28_by_28(image: Pixels) -> None:
    pixels = to_pixels(image, FASHION_MNIST)
    assert pixels.shape == (1, 28, 28)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    if np.median(border) not in {127, 127.5}:
        # Scaling rounds twice, across and down.
        assert_allclose(to_pixels(255 - image, FASHION_MNIST).astype(int), pixels, atol=2)


def test_a_small_photo_on_white_is_negated_as_a_large_one_is() -> None:
    item = fashion_mnist.sample().images[0]
    assert_array_equal(to_pixels(255 - item, FASHION_MNIST)[0], item)
