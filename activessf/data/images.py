"""Reading, cutting and writing images: everything in the project is uint8 RGB (H, W, 3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from activessf.errors import InputError

_SIXTEEN_BIT = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_QUARTER_TURNED = (5, 6, 7, 8)  # EXIF orientations in which width and height change places


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image upright, as a viewer would show it.

    EXIF rotation is applied, transparency is laid on white, 16-bit grey is scaled to 8 bit, and grey, palette and
    CMYK images become RGB. The whole file is decoded, so a truncated one is refused and not filled up with grey.

    Args:
        path: A JPEG, PNG, BMP or TIFF (its first page) file.

    Returns:
        The pixels, RGB, uint8, (H, W, 3).

    Raises:
        InputError: The file is missing, no image, damaged, too large, or of a pixel type that has no 8-bit meaning.
    """
    with _opened(path) as image:
        _check_planes(image, path)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _as_rgb(image, path)


def image_size(path: Path) -> tuple[int, int]:
    """Height and width that `read_image` would give, from the file's header.

    Raises:
        InputError: The file is missing, no image or too large. A file truncated after its header passes.
    """
    with _opened(path) as image:
        # TIFF images have their stated orientation applied to `size` already.
        turned = image.format != "TIFF" and image.getexif().get(ExifTags.Base.Orientation) in _QUARTER_TURNED
        width, height = image.size[::-1] if turned else image.size
    return height, width


def crop(image: NDArray[np.uint8], x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
    """Cut a box out of an image.

    Args:
        image: (H, W, 3).
        x: Left edge in pixels, origin top left.
        y: Top edge in pixels.
        width: Width of the box in pixels.
        height: Height of the box in pixels.

    Returns:
        A view of the box's pixels, (height, width, 3).

    Raises:
        InputError: The box is empty or does not lie wholly in the image.
    """
    rows, columns = image.shape[:2]
    if x < 0 or y < 0 or width < 1 or height < 1 or x + width > columns or y + height > rows:
        raise InputError(
            f"The box x={x}, y={y}, width={width}, height={height} is not inside an image of {columns}x{rows} pixels; "
            "correct the box."
        )
    return image[y : y + height, x : x + width]


def write_png(image: NDArray[np.uint8], path: Path) -> None:
    """Write an RGB image (H, W, 3) as PNG, compressed lightly since crops are written by the thousand."""
    written, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert written
    path.write_bytes(data.tobytes())


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"The image {path} does not exist; check the path and the data root.") from error
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f"The image {path} can't be opened ({error.strerror}); check the path.") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not an image that can be read; give JPEG, PNG, BMP or TIFF files.") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"The image {path} is too large ({error}); cut it into tiles first.") from error
    except Exception as error:
        # What the decoders raise on a damaged file depends on where the damage is: OSError, SyntaxError,
        # struct.error, EOFError, zlib.error, ValueError, ...
        raise InputError(f"The image {path} is damaged or truncated ({error}); replace the file.") from error


def _check_planes(image: Image.Image, path: Path) -> None:
    """Refuse what Pillow reads wrongly without a word: 16-bit colours plane by plane."""
    if isinstance(image, TiffImageFile):
        tags = image.tag_v2
        depths = tags.get(ExifTags.Base.BitsPerSample, (1,))
        if tags.get(ExifTags.Base.PlanarConfiguration) == 2 and len(depths) > 1 and max(depths) > 8:
            raise InputError(
                f"The image {path} has its 16-bit colours in separate planes; convert it to 8 bit or to one plane."
            )


def _as_rgb(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    if image.mode in _SIXTEEN_BIT:
        return _scaled_to_eight_bit(np.asarray(image), path)
    if image.mode == "F":
        raise InputError(f"The image {path} has floating-point pixels; convert it to 8 or 16 bit.")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _scaled_to_eight_bit(grey: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    least, greatest = int(grey.min()), int(grey.max())
    if least < 0 or greatest > 65535:
        raise InputError(
            f"The image {path} has grey values from {least} to {greatest}, which don't fit 16 bit; "
            "convert it to 8 or 16 bit."
        )
    # 65535 = 257 * 255; by a table, since wider copies of a large plane would take gigabytes
    return np.asarray(cv2.cvtColor(np.rint(np.arange(65536) / 257).astype(np.uint8)[grey], cv2.COLOR_GRAY2RGB))
