import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from activessf.data.images import crop, image_size, read_image, write_png
from activessf.errors import InputError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
SHAPES = {1: PIXELS, 2: PIXELS[:, ::-1], 3: PIXELS[::-1, ::-1], 4: PIXELS[::-1], 5: PIXELS.transpose(1, 0, 2)}
SHAPES |= {6: np.rot90(PIXELS, -1), 7: PIXELS[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(PIXELS)}


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff"])
def test_lossless_pixels_come_back(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(PIXELS).save(tmp_path / f"a.{suffix}")
    image = read_image(tmp_path / f"a.{suffix}")
    assert image.dtype == np.uint8 and image.flags.writeable
    np.testing.assert_array_equal(image, PIXELS)
    assert image_size(tmp_path / f"a.{suffix}") == (5, 7)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tiff", "jpg"])
def test_exif_orientation_is_applied_to_pixels_and_size(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(PIXELS).save(path, exif=exif)
    image = read_image(path)
    assert image.shape == SHAPES[orientation].shape
    assert image_size(path) == image.shape[:2]
    if suffix != "jpg":
        np.testing.assert_array_equal(image, SHAPES[orientation])


def test_grey_and_palette_become_rgb(tmp_path: Path) -> None:
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.repeat(PIXELS[..., :1], 3, axis=2))
    Image.fromarray(PIXELS[..., 0] > 127).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png")[..., 1], (PIXELS[..., 0] > 127) * 255)
    palette = Image.fromarray(PIXELS).quantize(256)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), np.array(palette.convert("RGB")))


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (9, 8), (255, 0, 0, 0)).save(tmp_path / "a.jpg")
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg"), np.full((8, 9, 3), (0, 255, 255)), atol=3)


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    layer = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [0, 0, 0, 51]]], dtype=np.uint8)
    Image.fromarray(layer).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), [[[255] * 3, [10, 20, 30], [204] * 3]])
    Image.fromarray(PIXELS).save(tmp_path / "key.png", transparency=tuple(PIXELS[0, 0].tolist()))
    assert read_image(tmp_path / "key.png")[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bit_grey_is_scaled_by_257(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(np.array([[0, 257, 65535, 128, 129, 12850]], dtype=np.uint16)).save(tmp_path / f"a.{suffix}")
    assert read_image(tmp_path / f"a.{suffix}")[0, :, 2].tolist() == [0, 1, 255, 0, 1, 50]


def test_rotated_sixteen_bit_grey_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.array([[0, 257, 514]], dtype=np.uint16)).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png")[..., 0].tolist() == [[0], [1], [2]]


def test_pixels_without_an_eight_bit_meaning_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((2, 2), dtype=np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(InputError, match="floating-point"):
        read_image(tmp_path / "float.tiff")
    Image.fromarray(np.full((2, 2), 70000, dtype=np.int32)).save(tmp_path / "long.tiff")
    with pytest.raises(InputError, match="70000"):
        read_image(tmp_path / "long.tiff")


def test_missing_text_empty_and_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.png").touch()
    for read in (read_image, image_size):
        with pytest.raises(InputError, match=r"missing\.png does not exist"):
            read(tmp_path / "missing.png")
        for name in ("text.jpg", "empty.png"):
            with pytest.raises(InputError, match=f"{name} is not an image"):
                read(tmp_path / name)
        with pytest.raises(InputError, match="can't be opened"):
            read(tmp_path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tiff"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=r"a\.\w+ is (damaged or truncated|not an image)"):
        read_image(path)


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_decompression_bomb_and_a_zero_size_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(_png(60000, 60000))
    with pytest.raises(InputError, match="too large"):
        read_image(tmp_path / "bomb.png")
    (tmp_path / "zero.png").write_bytes(_png(0, 4))
    with pytest.raises(InputError, match=r"zero\.png"):
        read_image(tmp_path / "zero.png")


def test_crop_cuts_the_box_and_refuses_what_lies_outside() -> None:
    np.testing.assert_array_equal(crop(PIXELS, 2, 1, 3, 4), PIXELS[1:5, 2:5])
    np.testing.assert_array_equal(crop(PIXELS, 0, 0, 7, 5), PIXELS)
    for box in [(-1, 0, 2, 2), (0, -1, 2, 2), (6, 0, 2, 2), (0, 4, 2, 2), (0, 0, 0, 1), (0, 0, 1, 0)]:
        with pytest.raises(InputError, match=f"x={box[0]}, y={box[1]}"):
            crop(PIXELS, *box)


def test_written_png_reads_back(tmp_path: Path) -> None:
    write_png(PIXELS[1:4, 2:5], tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PIXELS[1:4, 2:5])


def test_sixteen_bit_colours_in_planes_are_refused_and_in_one_plane_read(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "planes.tif", pixels.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    with pytest.raises(InputError, match="16-bit colours in separate planes"):
        read_image(tmp_path / "planes.tif")
    tifffile.imwrite(tmp_path / "one.tif", pixels, photometric="rgb")
    assert np.abs(read_image(tmp_path / "one.tif") - pixels / 257).max() <= 1
