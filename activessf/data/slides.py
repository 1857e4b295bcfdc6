"""Which slides can be read: whole-slide pretraining must not meet a broken one after hours."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from activessf.data.slide_files import open_slide
from activessf.errors import InputError
from activessf.manifests import FAILURES, write_table

SLIDES_FILE = "slides.csv"
FAILURES_FILE = "failures.csv"


def check_slides(root: Path, slides: Sequence[str], output: Path, num_workers: int) -> None:
    """Write `slides.csv` (image, width, height of those that can be read) and `failures.csv` into `output`.

    Args:
        root: Folder that the slides' names are relative to.
        slides: Names of image files.
        output: An existing folder.
        num_workers: Threads; the result does not depend on it.

    Raises:
        InputError: No slide can be read.
    """
    names = sorted(slides)
    with ThreadPoolExecutor(max(1, num_workers)) as pool:
        found = list(
            tqdm(
                pool.map(lambda name: _size(root, name), names), total=len(names), desc="Checking slides", unit="slide"
            )
        )
    failures = [(name, result) for name, result in zip(names, found, strict=True) if isinstance(result, str)]
    readable = [(name, *result) for name, result in zip(names, found, strict=True) if not isinstance(result, str)]
    if not readable:
        raise InputError(
            f"None of the {len(names)} slides can be read: {failures[0][1] if failures else 'there are none'}"
        )
    if failures:
        warnings.warn(
            f"{len(failures)} of {len(names)} slides can't be read and are left out; the first: {failures[0][1]}",
            stacklevel=2,
        )
    write_table(pd.DataFrame(readable, columns=["image", "width", "height"]), output / SLIDES_FILE)
    write_table(pd.DataFrame(failures, columns=list(FAILURES)), output / FAILURES_FILE)


def _size(root: Path, name: str) -> tuple[int, int] | str:
    """Width and height of a slide, or why it can't be read. Decoded whole: only that shows a truncated file."""
    try:
        with open_slide(root / name) as slide:
            if slide.in_memory:
                return slide.width, slide.height
    except InputError as error:
        return str(error)
    return (
        f"{root / name} is a whole slide, and pretraining on whole images reads them into memory; choose a selection "
        "of regions, such as selection=crf, or cut it into fields."
    )
