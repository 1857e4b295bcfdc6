"""Stage 1 over a whole set of slides: images in, `regions.csv` and crops out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path, PurePath
from typing import NamedTuple

import cv2
import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from tqdm import tqdm

from activessf.data.images import crop, read_image, write_png
from activessf.errors import InputError
from activessf.manifests import FAILURES, REGIONS, write_json, write_table
from activessf.regions.boxes import Region
from activessf.regions.filtering import RegionFilter

_CROPS = "crops"


class _Result(NamedTuple):
    """What became of one image: its regions, or the reason why there are none."""

    image: str
    regions: list[Region]
    failure: str | None


def find_regions(
    root: Path, images: Sequence[str], region_filter: RegionFilter, output: Path, num_workers: int
) -> None:
    """Find the candidate cells of all images and cut them out.

    Writes into `output`: `regions.csv` (sorted by image, then y, then x; `crop` is relative to `output`), the crops
    as PNG with the image's original pixels, `failures.csv` and `summary.json`. An image that can't be read goes into
    `failures.csv` and does not stop the others. If no region is found the tables are written without rows.

    Args:
        root: Folder that the images' paths are relative to.
        images: Paths of the images; the order does not matter, a repeated path counts once.
        region_filter: Applied to every image by itself.
        output: An existing, empty folder.
        num_workers: Processes to use; 0: this one. The files are the same for any number.

    Raises:
        InputError: There is no image, or none can be read.
    """
    started = time.monotonic()
    if not images:
        raise InputError("There is no image to look for regions in; give a data source that has slides.")
    (output / _CROPS).mkdir()
    prefixes = crop_prefixes(images)
    process = partial(_process, root, region_filter, output)
    with _mapped(process, prefixes.items(), len(prefixes), num_workers) as results:
        collected = list(tqdm(results, "regions", len(prefixes), unit="image", disable=None))
    failures = [result for result in collected if result.failure is not None]
    if len(failures) == len(collected):
        raise InputError(f"None of the {len(failures)} images can be read; the first: {failures[0].failure}")
    _write_tables(collected, prefixes, output, time.monotonic() - started)


def crop_prefixes(images: Iterable[str]) -> dict[str, str]:
    """What the names of each image's crops begin with: its stem, numbered where several images share one.

    Args:
        images: Paths, in any order.

    Returns:
        Prefix by path, sorted by path. No two are equal, even on a file system that ignores case.
    """
    prefixes: dict[str, str] = {}
    taken: set[str] = set()
    for image in sorted(set(images)):
        stem = prefix = PurePath(image).stem
        number = 1
        while prefix.casefold() in taken:
            number += 1
            prefix = f"{stem}-{number}"
        taken.add(prefix.casefold())
        prefixes[image] = prefix
    return prefixes


def _process(root: Path, region_filter: RegionFilter, output: Path, item: tuple[str, str]) -> _Result:
    name, prefix = item
    try:
        image = read_image(root / name)
        regions = region_filter(image)
    except (InputError, cv2.error, MemoryError) as error:  # one odd slide must not cost the other thousands
        return _Result(name, [], str(error) or type(error).__name__)
    for index, region in enumerate(regions):
        write_png(crop(image, region.x, region.y, region.width, region.height), output / _crop_name(prefix, index))
    return _Result(name, regions, None)


@contextmanager
def _mapped(
    process: partial[_Result], items: Iterable[tuple[str, str]], count: int, num_workers: int
) -> Iterator[Iterator[_Result]]:
    """Results in the order of the items, worked out while they are read."""
    if num_workers == 0:
        with threadpool_limits(1):
            yield map(process, items)
        return
    # A forked child can hang in an OpenMP or OpenCV call if the parent has used those threads; a spawned one can't.
    executor = ProcessPoolExecutor(num_workers, mp_context=get_context("spawn"), initializer=_use_one_thread)
    try:
        yield executor.map(process, items, chunksize=max(1, min(16, count // (4 * num_workers))))
    finally:
        executor.shutdown(cancel_futures=True)


def _use_one_thread() -> None:
    """Keep K-means from starting a thread a core in every worker, and its sums in one order whatever the machine."""
    threadpool_limits(1)


def _crop_name(prefix: str, index: int) -> str:
    return f"{_CROPS}/{prefix}_{index:04d}.png"


def _write_tables(results: Sequence[_Result], prefixes: dict[str, str], output: Path, seconds: float) -> None:
    rows = [
        (result.image, *region._asdict().values(), _crop_name(prefixes[result.image], index))
        for result in results
        for index, region in enumerate(result.regions)
    ]
    regions = pd.DataFrame(rows, columns=["image", *Region._fields, "crop"])
    write_table(regions[list(REGIONS)], output / "regions.csv")
    failures = [(result.image, result.failure) for result in results if result.failure is not None]
    write_table(pd.DataFrame(failures, columns=list(FAILURES)), output / "failures.csv")
    summary = {
        "images": len(results),
        "images_with_region": sum(bool(result.regions) for result in results),
        "regions": len(rows),
        "failed": len(failures),
        "seconds": round(seconds, 3),
    }
    write_json(summary, output / "summary.json")
