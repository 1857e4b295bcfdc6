"""What a written figure must be."""

import re
from pathlib import Path

import cv2


def assert_is_drawn(path: Path) -> None:
    """A PNG with something on white ground, and a PDF beside it that a reader can find its objects and letters in."""
    image = cv2.imread(str(path))
    assert image is not None and min(image.shape[:2]) > 150
    assert image.std() > 5 and (image[[0, -1]] == 255).all()
    pdf = path.with_suffix(".pdf").read_bytes()
    assert pdf.startswith(b"%PDF-1.") and pdf.rstrip().endswith(b"%%EOF")
    table = int(re.findall(rb"startxref\s+(\d+)", pdf)[-1])
    assert pdf[table : table + 4] == b"xref"
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf
    assert not list(path.parent.glob(".*"))
