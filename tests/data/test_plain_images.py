import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from activessf.data.images import read_image
from activessf.data.plain_images import read_checked_image, read_plain
from activessf.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (23, 31, 3), dtype=np.uint8)


def encoded(form: str, pixels=PIXELS, mode="RGB", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, form, **options)
    return file.getvalue()


def written(folder: Path, data: bytes) -> Path:
    path = folder / "image"
    path.write_bytes(data)
    return path


def turned() -> dict:
    exif = Image.Exif()
    exif[0x0112] = 6
    return {"exif": exif}


@pytest.mark.parametrize(
    "data",
    [
        encoded("PNG"),
        encoded("JPEG"),
        encoded("JPEG", progressive=True),
        encoded("JPEG", quality=60, subsampling=2),
        encoded("JPEG", comment=b"x" * 300),
    ],
)
def test_plain_files_are_read_as_pillow_reads_them(tmp_path: Path, data: bytes) -> None:
    path = written(tmp_path, data)
    found = read_plain(path)
    assert found is not None and found.dtype == np.uint8 and found.flags.c_contiguous
    assert (found == read_image(path)).all()


ODD = [
    encoded("PNG", mode="RGBA"),
    encoded("PNG", mode="L"),
    encoded("PNG", mode="P"),
    encoded("PNG", **turned()),
    encoded("PNG", transparency=(1, 2, 3)),
    encoded("PNG", np.arange(16, dtype=np.uint16).reshape(4, 4), "I;16"),
    encoded("JPEG", mode="L"),
    encoded("JPEG", mode="CMYK"),
    encoded("JPEG", **turned()),
    encoded("BMP"),
    encoded("TIFF"),
]


@pytest.mark.parametrize("data", ODD)
def test_what_has_anything_to_it_is_left_to_pillow(tmp_path: Path, data: bytes) -> None:
    path = written(tmp_path, data)
    assert read_plain(path) is None
    assert (read_checked_image(path) == read_image(path)).all()


BROKEN = [encoded("PNG")[:400], encoded("JPEG")[:-10], b"", b"\xff\xd8\xff\xd9", b"\x89PNG\r\n\x1a\n", b"text"]


@pytest.mark.parametrize("data", BROKEN)
def test_a_file_that_has_been_broken_since_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputError):
        read_checked_image(written(tmp_path, data))


def test_a_missing_file_and_one_larger_than_allowed_are_left_to_pillow(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_checked_image(tmp_path / "missing")
    path = written(tmp_path, encoded("PNG"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 23 * 31 - 1)
    assert read_plain(path) is None
