"""Slides as files: plain images, which fit into memory, and whole slides, which are read piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from activessf.data.images import crop, image_size, read_image
from activessf.errors import InputError

# What only OpenSlide reads. It reads pyramidal TIFF too, but so is a small TIFF called as well.
WHOLE_SLIDE_SUFFIXES = (".svs", ".ndpi", ".mrxs", ".vms", ".vmu", ".scn", ".bif", ".svslide", ".dcm")
_TIFF_SUFFIXES = (".tif", ".tiff")

# Planes above this many pixels (about 200 MB in colour) are read piece by piece.
_MOST_PIXELS_IN_MEMORY = 64_000_000
# A coarser resolution than this, um per pixel, is that of a camera or printer (72 to 2400 dpi), not of a microscope.
_COARSEST = 5.0
_MICROMETRES = {2: 25_400.0, 3: 10_000.0}  # by TIFF's unit: inch, centimetre


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
    if _is_whole_slide(path):
        slide = _WholeSlide(path)
        try:
            yield slide
        finally:
            slide.close()
    else:
        yield _PlainImage(path)


def slide_size(path: Path) -> tuple[int, int]:
    """Height and width of a slide from the file's header.

    Raises:
        InputError: As `open_slide`.
    """
    if not _is_whole_slide(path):
        return image_size(path)
    with open_slide(path) as slide:
        return slide.height, slide.width


class _PlainImage:
    in_memory = True

    def __init__(self, path: Path) -> None:
        self._pixels = read_image(path)
        self.height, self.width = self._pixels.shape[:2]
        self.resolution = _plain_resolution(path)

    def read(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        return crop(self._pixels, x, y, width, height)


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
            raise InputError(
                f"{path} is no whole slide that OpenSlide can read; give a tiled, pyramidal one."
            ) from error
        except (self._error, OSError) as error:
            raise InputError(f"The slide {path} is damaged or truncated ({error}); replace the file.") from error
        self.width, self.height = self._slide.dimensions
        self.resolution = self._stated_resolution()
        background = self._slide.properties.get("openslide.background-color", "ffffff")
        self._background = tuple(bytes.fromhex(background))

    def read(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        if x < 0 or y < 0 or width < 1 or height < 1 or x + width > self.width or y + height > self.height:
            raise InputError(
                f"The box x={x}, y={y}, width={width}, height={height} is not inside {self._path} of "
                f"{self.width}x{self.height} pixels; correct the box."
            )
        try:
            layer = self._slide.read_region((x, y), 0, (width, height))
        except (self._error, OSError) as error:
            raise InputError(f"The slide {self._path} is damaged or truncated ({error}); replace the file.") from error
        # Where a scanner saw nothing, pixels are transparent.
        ground = Image.new("RGB", layer.size, self._background)
        ground.paste(layer, mask=layer.getchannel("A"))
        return np.asarray(ground)

    def close(self) -> None:
        self._slide.close()

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


def _openslide(path: Path) -> Any:
    try:
        import openslide
    except ImportError as error:
        raise InputError(
            f"{path} is a whole slide, which OpenSlide reads; install it: pip install openslide-python openslide-bin"
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
