"""Slides as files: plain images, which fit into memory, and whole slides, which are read piece by piece."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from activessf.data.dicom import DICOM_SUFFIX, files_of_series
from activessf.data.images import crop, image_size, read_image
from activessf.errors import InputError

# What only OpenSlide reads. It reads pyramidal TIFF too, but so is a small TIFF called as well.
WHOLE_SLIDE_SUFFIXES = (".svs", ".ndpi", ".mrxs", ".vms", ".vmu", ".scn", ".bif", ".svslide", ".dcm")
_TIFF_SUFFIXES = (".tif", ".tiff")

# Planes above this many pixels (about 200 MB in colour) are read piece by piece.
_MOST_PIXELS_IN_MEMORY = 64_000_000
_TILE = 512  # px of a level, by which a whole slide is reduced
# Of these formats one file holds all pixels. Even tiles that are absent take twelve bytes each in its lists, so a file
# that is smaller than this for its pixels states a size that it hasn't.
_ONE_FILE = (".svs", ".ndpi", ".scn", ".bif", ".svslide", *_TIFF_SUFFIXES)
_MOST_PIXELS_A_BYTE = 20_000
# A coarser resolution than this, um per pixel, is that of a camera or printer (72 to 2400 dpi), not of a microscope.
_COARSEST = 5.0
_MICROMETRES = {2: 25_400.0, 3: 10_000.0}  # by TIFF's unit: inch, centimetre


class MissingReader(InputError):
    """A library that reads a kind of slide is not installed, which is no fault of the slide."""


class Slide(Protocol):
    """An open slide.

    Attributes:
        width: In pixels of the finest level.
        height: In pixels of the finest level.
        resolution: Micrometres per pixel; None where the file doesn't say.
        in_memory: Whether the whole plane may be read at once.
    """

    width: int
    height: int
    resolution: float | None
    in_memory: bool

    def read(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """A box of pixels of the finest level, RGB, (height, width, 3).

        Raises:
            InputError: The box does not lie in the slide, or the file is damaged there.
        """
        ...

    def reduced(self, longest: int) -> NDArray[np.uint8]:
        """The whole slide in few pixels, each the mean of those that it stands for; never enlarged.

        A whole slide is read tile by tile, from the coarsest of its levels that is fine enough.

        Args:
            longest: Greatest width and height of the picture in pixels, at least 1.

        Returns:
            RGB, (H, W, 3).

        Raises:
            InputError: The file is damaged.
        """
        ...


@contextmanager
def open_slide(path: Path) -> Iterator[Slide]:
    """Open an image or a whole slide for reading.

    SVS, NDPI, MRXS, Ventana, Leica, Hamamatsu and DICOM files, and TIFF files too large for memory, are read by
    OpenSlide (the optional extra `slides`), all others whole by `read_image`.

    Args:
        path: An image file; of a DICOM series any of its files, of MRXS the .mrxs file beside its folder.

    Raises:
        InputError: The file is missing, damaged or of no known kind, or OpenSlide is needed and not installed.
    """
    if not _is_whole_slide(path):
        yield _PlainImage(path)
        return
    try:
        slide = _WholeSlide(path)
    except _UnknownToOpenSlide:
        if path.suffix.lower() not in _TIFF_SUFFIXES:
            raise
        yield _PlainImage(path)  # in strips, not tiles; refused if that is too large
        return
    try:
        yield slide
    finally:
        slide.close()


def files_of_slide(path: Path) -> list[Path]:
    """The file and those that it can't be read without: the folder of MRXS, the others of VMS, VMU and DICOM."""
    suffix = path.suffix.lower()
    if suffix == ".mrxs":
        beside = path.with_suffix("").glob("*")
    elif suffix in (".vms", ".vmu"):
        beside = path.parent.glob(f"{glob.escape(path.stem)}*")
    elif suffix == DICOM_SUFFIX:
        return files_of_series(path)
    else:
        return [path]
    return [path, *sorted(other for other in beside if other.is_file() and other != path)]


def slide_size(path: Path) -> tuple[int, int]:
    """Height and width of a slide from the file's header.

    Raises:
        InputError: As `open_slide`.
    """
    if not _is_whole_slide(path):
        return image_size(path)
    with open_slide(path) as slide:
        return slide.height, slide.width


class _UnknownToOpenSlide(InputError):
    """The file may be sound, but OpenSlide has no reader for it."""


class _PlainImage:
    in_memory = True

    def __init__(self, path: Path) -> None:
        self._pixels = read_image(path)
        self.height, self.width = self._pixels.shape[:2]
        self.resolution = _plain_resolution(path)

    def read(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        return crop(self._pixels, x, y, width, height)

    def reduced(self, longest: int) -> NDArray[np.uint8]:
        size = _reduced_size(self.width, self.height, longest)
        return np.asarray(cv2.resize(self._pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


class _WholeSlide:
    in_memory = False

    def __init__(self, path: Path) -> None:
        openslide = _openslide(path)
        self._path = path
        self._error = openslide.OpenSlideError
        if not path.is_file():
            raise InputError(f"The slide {path} does not exist; check the path and the data root.")
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideUnsupportedFormatError as error:
            raise _UnknownToOpenSlide(
                f"{path} is no whole slide that OpenSlide can read; give a tiled, pyramidal one."
            ) from error
        except (self._error, OSError) as error:
            raise InputError(f"The slide {path} is damaged or truncated ({error}); replace the file.") from error
        self.width, self.height = self._slide.dimensions
        self._check_size(path.stat().st_size)
        self.resolution = self._stated_resolution()
        background = self._slide.properties.get("openslide.background-color", "ffffff")
        self._background = tuple(bytes.fromhex(background))

    def read(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        if x < 0 or y < 0 or width < 1 or height < 1 or x + width > self.width or y + height > self.height:
            raise InputError(
                f"The box x={x}, y={y}, width={width}, height={height} is not inside {self._path} of "
                f"{self.width}x{self.height} pixels; correct the box."
            )
        return self._region(x, y, 0, width, height)

    def reduced(self, longest: int) -> NDArray[np.uint8]:
        width, height = _reduced_size(self.width, self.height, longest)
        level = self._slide.get_best_level_for_downsample(max(1.0, max(self.width, self.height) / longest))
        (columns, rows), step = self._slide.level_dimensions[level], self._slide.level_downsamples[level]
        picture = np.zeros((height, width, 3), np.float32)
        for top in range(0, rows, _TILE):
            down, shares_down = _shares(top, min(top + _TILE, rows), rows, height)
            for left in range(0, columns, _TILE):
                across, shares_across = _shares(left, min(left + _TILE, columns), columns, width)
                # OpenSlide takes the corner in pixels of the finest level. Rounded up, the tile would pass the edge.
                size = shares_across.shape[1], shares_down.shape[1]
                tile = self._region(int(left * step), int(top * step), level, *size)
                mixed = np.tensordot(np.tensordot(shares_down, tile, 1), shares_across, (1, 1))  # (h, 3, w)
                picture[down, across] += mixed.transpose(0, 2, 1)
        return np.rint(picture).astype(np.uint8)

    def close(self) -> None:
        self._slide.close()

    def _region(self, x: int, y: int, level: int, width: int, height: int) -> NDArray[np.uint8]:
        try:
            layer = self._slide.read_region((x, y), level, (width, height))
        except (self._error, OSError) as error:
            raise InputError(f"The slide {self._path} is damaged or truncated ({error}); replace the file.") from error
        # Where a scanner saw nothing, pixels are transparent.
        ground = Image.new("RGB", layer.size, self._background)
        ground.paste(layer, mask=layer.getchannel("A"))
        return np.asarray(ground)

    def _check_size(self, num_bytes: int) -> None:
        one_file = self._path.suffix.lower() in _ONE_FILE
        if one_file and self.width * self.height > _MOST_PIXELS_A_BYTE * num_bytes:
            self.close()
            raise InputError(
                f"The slide {self._path} is damaged or truncated (it states {self.width}x{self.height} pixels in "
                f"{num_bytes} bytes); replace the file."
            )

    def _stated_resolution(self) -> float | None:
        try:
            sides = [float(self._slide.properties[f"openslide.mpp-{axis}"]) for axis in "xy"]
        except (KeyError, ValueError):
            return _plausible(_tiff_resolution(self._slide.properties))
        return _plausible(sum(sides) / 2)


def _is_whole_slide(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in WHOLE_SLIDE_SUFFIXES:
        return True
    if suffix not in _TIFF_SUFFIXES:
        return False
    try:
        # Only the header: a plane too large for Pillow is one of those meant.
        with Image.open(path) as image:
            return image.size[0] * image.size[1] > _MOST_PIXELS_IN_MEMORY
    except Image.DecompressionBombError:
        return True
    except Exception:
        return False  # `read_image` says what is wrong with it


def _reduced_size(width: int, height: int, longest: int) -> tuple[int, int]:
    factor = min(1.0, longest / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _shares(start: int, stop: int, length: int, number: int) -> tuple[slice, NDArray[np.float32]]:
    """How pixels start..stop - 1 of a row of `length` go into the `number` pixels of the reduced row.

    Returns:
        The n reduced pixels that they reach, and what they add to the mean in each, (n, stop - start).
    """
    first, last = start * number // length, -(-stop * number // length)
    edges = np.arange(first, last + 1) * (length / number)
    pixels = np.arange(start, stop)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return slice(first, last), (overlap.clip(0) * (number / length)).astype(np.float32)


def _openslide(path: Path) -> Any:
    try:
        import openslide
    except ImportError as error:
        raise MissingReader(
            f"{path} is a whole slide, which OpenSlide reads; install it: pip install 'activessf[slides]', or in this "
            "folder pip install -e '.[slides]'."
        ) from error
    return openslide


def _plain_resolution(path: Path) -> float | None:
    """From the tags of TIFF or PNG; a JPEG's are a camera's."""
    try:
        with Image.open(path) as image:
            if image.format == "TIFF":
                tags = image.tag_v2  # type: ignore[attr-defined]
                unit, across, down = tags.get(296, 2), tags.get(282), tags.get(283)
                return _plausible(_micrometres(unit, (float(across) + float(down)) / 2)) if across and down else None
            if image.format == "PNG" and "dpi" in image.info:
                return _plausible(_micrometres(2, sum(map(float, image.info["dpi"])) / 2))
    except (OSError, ValueError, TypeError, ZeroDivisionError):
        pass
    return None


def _tiff_resolution(properties: Any) -> float | None:
    try:
        pixels = (float(properties["tiff.XResolution"]) + float(properties["tiff.YResolution"])) / 2
        return _micrometres({"inch": 2, "centimeter": 3}.get(properties.get("tiff.ResolutionUnit", "inch"), 0), pixels)
    except (KeyError, ValueError):
        return None


def _micrometres(unit: int, pixels_per_unit: float) -> float | None:
    return _MICROMETRES[unit] / pixels_per_unit if unit in _MICROMETRES and pixels_per_unit > 0 else None


def _plausible(resolution: float | None) -> float | None:
    """A resolution that a microscope can have."""
    return resolution if resolution is not None and 0.01 <= resolution <= _COARSEST else None
