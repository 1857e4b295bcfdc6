"""What stage 1 found in every single slide, kept so that no slide is worked through twice.

A slide's result is a folder `<root>/<filter>/<first two digits>/<slide>/` named by the fingerprints of the filter's
settings and of the file's content; it holds `slide.json` and the crops. It is published by one rename, so a folder
with its final name is whole, and two processes that work on the same slide do no harm.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from activessf.data.images import write_png
from activessf.regions.boxes import Found, Region, Rejected

_RESULT = "slide.json"
_LEFTOVER_SECONDS = 24 * 3600


@dataclass(frozen=True)
class SlideResult:
    """What was found in one slide.

    Attributes:
        width: Of the slide in pixels.
        height: Of the slide in pixels.
        resolution: Micrometres per pixel; None where the file doesn't say.
        found: Its regions, and what was rejected.
    """

    width: int
    height: int
    resolution: float | None
    found: Found


class SlideStore:
    """The results of one filter's settings; `key` below is the fingerprint of a slide's content."""

    def __init__(self, root: Path, settings: str) -> None:
        """`settings` is the fingerprint of the filter's settings."""
        self._root = root / settings

    def folder(self, key: str) -> Path:
        """Where a slide's result stands, or will stand."""
        return self._root / key[:2] / key

    def crop(self, key: str, index: int) -> Path:
        """The crop of a slide's region."""
        return self.folder(key) / _crop_name(index)

    def load(self, key: str) -> SlideResult | None:
        """A slide's result; None where there is none, or one that a power cut has damaged, which is taken away."""
        folder = self.folder(key)
        if not folder.is_dir():
            return None  # folders appear whole: one that appears from here on is another process's
        try:
            result, sizes = _from_json(json.loads((folder / _RESULT).read_text(encoding="utf-8")))
            if sizes == [(folder / _crop_name(index)).stat().st_size for index in range(len(result.found.regions))]:
                return result
        except FileNotFoundError:
            pass
        except (ValueError, TypeError, KeyError):
            pass
        shutil.rmtree(folder, ignore_errors=True)
        return None

    def save(self, key: str, result: SlideResult, crops: Iterable[NDArray[np.uint8]]) -> None:
        """Keep a slide's result with the crops of its regions, RGB (H, W, 3), in their order.

        Raises:
            OSError: It can't be written.
        """
        folder = self.folder(key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{key}."))
        try:
            sizes = [_written(crop, partial / _crop_name(index)) for index, crop in enumerate(crops)]
            (partial / _RESULT).write_text(json.dumps(_as_json(result, sizes)), encoding="utf-8")
            _share(partial)
            os.rename(partial, folder)
        except OSError:
            # Another process was first, which is as good; anything else is an error.
            if self.load(key) is None:
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def clear_leftovers(root: Path) -> None:
    """Take away what processes that were killed left in a store; what is less than a day old may be in work."""
    for leftover in root.glob("*/*/.*"):
        if time.time() - leftover.stat().st_mtime > _LEFTOVER_SECONDS:
            shutil.rmtree(leftover, ignore_errors=True)


def _crop_name(index: int) -> str:
    return f"{index:04d}.png"


def _written(crop: NDArray[np.uint8], path: Path) -> int:
    write_png(crop, path)
    return path.stat().st_size


def _share(folder: Path) -> None:
    """Give a folder made by mkdtemp, which only its owner can read, the rights of any other."""
    umask = os.umask(0)
    os.umask(umask)
    folder.chmod(0o777 & ~umask)


def _as_json(result: SlideResult, sizes: Sequence[int]) -> dict[str, Any]:
    return {
        "width": result.width,
        "height": result.height,
        "resolution": result.resolution,
        "regions": [list(region) for region in result.found.regions],
        "rejected": [[*rejected.region, rejected.reason] for rejected in result.found.rejected],
        "specks": result.found.specks,
        "crop_bytes": list(sizes),
    }


def _from_json(value: dict[str, Any]) -> tuple[SlideResult, list[int]]:
    found = Found(
        [Region(*row) for row in value["regions"]],
        [Rejected(Region(*row[:-1]), row[-1]) for row in value["rejected"]],
        value["specks"],
    )
    return SlideResult(value["width"], value["height"], value["resolution"], found), value["crop_bytes"]
