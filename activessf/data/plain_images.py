"""The commonest files, plain 8-bit RGB PNG and JPEG, decoded by OpenCV in less time than by Pillow.

For files that have been read by `images.read_image` before: of a damaged one OpenCV may show what Pillow refuses. A
file that has anything to it (rotation, transparency, a palette, other colours or depths, a missing end) is left to
`read_image`, which knows what to do with it.
"""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from activessf.data.images import read_image

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_PNG_END, _JPEG_END = b"IEND\xaeB`\x82", b"\xff\xd9"
_TRUE_COLOUR = 2  # PNG colour type
_FRAMES = (0xC0, 0xC1, 0xC2)  # JPEG: baseline, extended, progressive
_EXIF, _ADOBE = 0xE1, 0xEE  # may rotate, may mean other colours


def read_checked_image(path: Path) -> NDArray[np.uint8]:
    """Read an image that has been read before; the same pixels as `read_image` gives, RGB, uint8, (H, W, 3).

    Raises:
        InputError: The file is missing or can't be read any more.
    """
    plain = read_plain(path)
    return read_image(path) if plain is None else plain


def read_plain(path: Path) -> NDArray[np.uint8] | None:
    """The pixels of a plain file; None if it is not plain, can't be read, or is larger than Pillow allows."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    size = _png_size(data) if data.startswith(_PNG) else _jpeg_size(data) if data.startswith(_JPEG) else None
    if size is None or not 0 < size[0] * size[1] <= (Image.MAX_IMAGE_PIXELS or 0):
        return None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None or image.shape != (*size, 3):
        return None
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image), np.uint8)


def _png_size(data: bytes) -> tuple[int, int] | None:
    """Height and width of a plain PNG."""
    if len(data) < 33 or data[12:16] != b"IHDR" or not data.endswith(_PNG_END):
        return None
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    if (depth, colour) != (8, _TRUE_COLOUR) or b"tRNS" in data or b"eXIf" in data or b"Exif" in data:
        return None
    return height, width


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Height and width of a plain JPEG, from the segments before its first scan."""
    if not data.endswith(_JPEG_END):
        return None
    place = 2
    while place + 9 < len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker in (_EXIF, _ADOBE):
            return None
        if marker in _FRAMES:
            depth, height, width, components = struct.unpack(">BHHB", data[place + 4 : place + 10])
            return (height, width) if (depth, components) == (8, 3) else None
        place += 2 + length
    return None
