"""Stage 1 over a whole set of slides: slides in, `regions.csv` and crops out."""

from __future__ import annotations

import csv
import errno
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import cv2
from tqdm import tqdm

from activessf.artifacts import file_fingerprint, fingerprint
from activessf.data.slide_files import MissingReader, Slide, files_of_slide, open_slide
from activessf.data.squares import square_round
from activessf.errors import InputError
from activessf.manifests import FAILURES, REGIONS, REJECTED, SLIDES, write_json
from activessf.regions.boxes import Region
from activessf.regions.filtering import RegionFilter
from activessf.regions.store import SlideResult, SlideStore
from activessf.regions.tiles import Tiling, find_in_slide
from activessf.regions.workers import in_order

log = logging.getLogger(__name__)

# Raised when the same file and settings give another result.
VERSION = 3

_CROPS = "crops"
_LONGEST_PREFIX = 60  # characters: a file's name may have 255 bytes
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


@dataclass(frozen=True)
class Search:
    """What is looked for, and where results are kept.

    Attributes:
        root: Folder that the slides' paths are relative to.
        region_filter: For every slide that has none of its own.
        own_filters: Filters of single slides, by path.
        tiling: How slides too large for memory are read.
        crop_size: Side in pixels of the square round a region that is cut out, at the filter's resolution; None: the
            region's box is.
        store: Folder of the results slide by slide, shared by all runs.
        strict: Whether the first slide that can't be read ends the run.
    """

    root: Path
    region_filter: RegionFilter
    own_filters: Mapping[str, RegionFilter]
    tiling: Tiling
    crop_size: int | None
    store: Path
    strict: bool

    def filter_of(self, slide: str) -> RegionFilter:
        """The filter of one slide."""
        return self.own_filters.get(slide, self.region_filter)

    def store_of(self, slide: str) -> SlideStore:
        """Where the slide's result is kept: by the settings that it depends on."""
        settings = {
            "version": VERSION,
            "filter": asdict(self.filter_of(slide)),
            "tiling": asdict(self.tiling),
            "crop_size": self.crop_size,
        }
        return SlideStore(self.store, fingerprint(settings))

    def crop_box(self, region: Region, slide: str, opened: Slide) -> tuple[int, int, int, int]:
        """What is cut out for a region: left, top, width and height, in the slide's pixels."""
        if self.crop_size is None:
            return region.x, region.y, region.width, region.height
        meant = self.filter_of(slide).resolution
        factor = 1.0 if meant is None or opened.resolution is None else meant / opened.resolution
        x, y = region.x + region.width // 2, region.y + region.height // 2
        return square_round(x, y, max(1, round(self.crop_size * factor)), opened.width, opened.height)


class _Outcome(NamedTuple):
    """What became of one slide: its key in the store, or why it has no result."""

    slide: str
    key: str
    failure: str | None
    was_there: bool


def find_regions(search: Search, slides: Sequence[str], output: Path, num_workers: int) -> None:
    """Find the candidate cells of all slides and cut them out.

    Writes into `output`: `regions.csv` (sorted by image, then y, then x; `crop` is relative to `output`), the crops
    as PNG with the slide's original pixels (of the box, or of a square of `search.crop_size`), `rejected.csv` with the
    reasons, `slides.csv`, `failures.csv` and `summary.json`. A slide that can't be read goes into `failures.csv` and
    does not stop the others. Slides that the store knows are not read again. If no region is found the tables are
    written without rows. Memory does not grow with the number of slides, but for their names.

    Args:
        search: What is looked for.
        slides: Paths of the slides; the order does not matter, a repeated path counts once.
        output: An existing, empty folder.
        num_workers: Processes to use; 0: this one. The files are the same for any number.

    Raises:
        InputError: There is no slide, none can be read, one can't and `search.strict` is set, or the disk is full.
    """
    if not slides:
        raise InputError("There is no image to look for regions in; give a data source that has slides.")
    with _room_for(output):
        (output / _CROPS).mkdir()
        with _Tables(output) as tables:
            prefixes = crop_prefixes(slides)
            for outcome in _searched(search, list(prefixes), num_workers):
                tables.add(outcome, search, prefixes[outcome.slide])
        if tables.failed == tables.images:
            raise InputError(f"None of the {tables.images} images can be read; the first: {tables.first_failure}")
        write_json(tables.summary(), output / "summary.json")


def search_shard(search: Search, slides: Sequence[str], shard: int, num_shards: int, num_workers: int) -> bool:
    """Work through every `num_shards`-th slide, so that machines share the work through a common store.

    Args:
        search: What is looked for.
        slides: Paths of all slides.
        shard: Which share, 0..num_shards - 1.
        num_shards: Number of shares.
        num_workers: Processes to use; 0: this one.

    Returns:
        Whether the slides of this share could all be read.

    Raises:
        InputError: A slide can't be read and `search.strict` is set, or the disk is full.
    """
    share = sorted(set(slides))[shard::num_shards]
    with _room_for(search.store):
        failures = [outcome for outcome in _searched(search, share, num_workers) if outcome.failure is not None]
    if failures:
        log.warning("%d of %d slides can't be read; the first: %s", len(failures), len(share), failures[0].failure)
    return not failures


def crop_prefixes(images: Iterable[str]) -> dict[str, str]:
    """What the names of each image's crops begin with: its stem, cut if long, numbered where several images share one.

    Args:
        images: Paths, in any order.

    Returns:
        Prefix by path, sorted by path. No two are equal, even on a file system that ignores case.
    """
    prefixes: dict[str, str] = {}
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    for image in sorted(set(images)):
        stem = prefix = PurePath(image).stem[:_LONGEST_PREFIX]
        number = numbers.get(stem.casefold(), 1)
        while prefix.casefold() in taken:
            number += 1
            prefix = f"{stem}-{number}"
        numbers[stem.casefold()] = number
        taken.add(prefix.casefold())
        prefixes[image] = prefix
    return prefixes


def _searched(search: Search, slides: Sequence[str], num_workers: int) -> Iterator[_Outcome]:
    """Work through slides that the store doesn't know; outcomes in the order of the slides."""
    failed = known = 0
    with tqdm(total=len(slides), desc="regions", unit="slide", disable=None) as bar:
        for outcome in in_order(partial(_search, search), slides, num_workers, died=_died):
            if outcome.failure is not None and search.strict:
                raise InputError(f"{outcome.failure} (strict=true stops here; without it the run goes on)")
            failed += outcome.failure is not None
            known += outcome.was_there
            bar.set_postfix(known=known, failed=failed, refresh=False)
            bar.update()
            yield outcome
    if known:
        log.info("%d of %d slides had been worked through before.", known, len(slides))


def _search(search: Search, slide: str) -> _Outcome:
    path = search.root / slide
    try:
        key = _key(path)
        store = search.store_of(slide)
        if store.load(key) is not None:
            return _Outcome(slide, key, None, True)
        return _Outcome(slide, key, _failure(search, slide, key, store), False)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        return _Outcome(slide, "", f"The image {path} can't be opened ({error.strerror}); check the path.", False)


def _key(path: Path) -> str:
    """What the slide's files hold."""
    return fingerprint([[file.name, file_fingerprint(file)] for file in files_of_slide(path)])


def _failure(search: Search, slide: str, key: str, store: SlideStore) -> str | None:
    """Search a slide and keep the result; why that can't be done."""
    path = search.root / slide
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(open_slide(path))
            found = find_in_slide(opened, search.filter_of(slide), search.tiling)
            if _key(path) != key:
                return f"The image {path} has changed while it was read; give the command again."
            # Whole slides have many regions, so these are cut while they are written; plain images can't fail here.
            crops = (opened.read(*search.crop_box(region, slide, opened)) for region in found.regions)
            _save(store, key, SlideResult(opened.width, opened.height, opened.resolution, found), crops)
        except (InputError, cv2.error, MemoryError) as error:  # one odd slide must not cost the other thousands
            if isinstance(error, (_NoRoom, MissingReader)):
                raise
            return str(error) or type(error).__name__
    return None


def _died(slide: str) -> _Outcome:
    return _Outcome(slide, "", "The process that read this file died: it is damaged, or needs more memory.", False)


class _NoRoom(InputError):
    """The results can't be written."""


def _save(store: SlideStore, key: str, result: SlideResult, crops: Iterable[Any]) -> None:
    with _room_for(store.folder(key)):
        store.save(key, result, crops)


@contextmanager
def _room_for(folder: Path) -> Iterator[None]:
    """Turn a full disk into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise _NoRoom(
            f"{folder} can't be written ({error.strerror}); make room, or set paths.output_dir to another disk, and "
            "give the same command again: what has been found so far is kept."
        ) from error


class _Tables:
    """The stage's tables, written row by row as slides come in, in their order."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._started = time.monotonic()
        self._files = ExitStack()
        self._writers: dict[str, Any] = {}
        self.images = self.failed = self._with_region = self._regions = 0
        self.first_failure = ""

    def __enter__(self) -> _Tables:
        columns = {"regions": REGIONS, "rejected": REJECTED, "slides": SLIDES, "failures": FAILURES}
        for name, header in columns.items():
            path = self._output / f"{name}.csv"
            file = self._files.enter_context(path.open("w", encoding="utf-8", newline=""))
            self._writers[name] = csv.writer(file, lineterminator="\n")
            self._writers[name].writerow(header)
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def add(self, outcome: _Outcome, search: Search, prefix: str) -> None:
        """Write what became of one slide."""
        self.images += 1
        if outcome.failure is not None:
            self.failed += 1
            self.first_failure = self.first_failure or outcome.failure
            self._writers["failures"].writerow([outcome.slide, outcome.failure])
            return
        store = search.store_of(outcome.slide)
        result = store.load(outcome.key)
        assert result is not None, "found or saved a moment ago"
        regions, rejected, specks = result.found
        counts = (len(regions), len(rejected), specks)
        size = (result.width, result.height, "" if result.resolution is None else result.resolution)
        self._writers["slides"].writerow([outcome.slide, *size, *counts])
        for index, region in enumerate(regions):
            crop = f"{_CROPS}/{prefix}_{index:04d}.png"
            _link(store.crop(outcome.key, index), self._output / crop)
            self._writers["regions"].writerow([outcome.slide, *region, crop])
        for item in rejected:
            self._writers["rejected"].writerow([outcome.slide, *item.region, item.reason])
        self._with_region += bool(regions)
        self._regions += len(regions)

    def summary(self) -> dict[str, float]:
        """Totals, and the seconds that it took."""
        return {
            "images": self.images,
            "images_with_region": self._with_region,
            "regions": self._regions,
            "failed": self.failed,
            "seconds": round(time.monotonic() - self._started, 3),
        }


def _link(source: Path, target: Path) -> None:
    """The same file under a second name, or a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        shutil.copyfile(source, target)
