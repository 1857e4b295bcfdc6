"""From slides and labels to folds and candidate regions: data and stage 1 of one configuration and fold.

Every result is an `Artifact`: a folder keyed by what it depends on, made when it is needed and missing.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from activessf.artifacts import Artifact, artifact, files_fingerprint, fingerprint, readable
from activessf.checking import check_settings
from activessf.configuration import CONF, FOLDING, build, plain, region_settings, without
from activessf.data.cells import CELLS_FILE, cut_cells
from activessf.data.folds import assign_folds
from activessf.data.hidden import hide_labels
from activessf.data.joined_groups import check_joined, join_groups, joined_sentence
from activessf.data.near_duplicates import DUPLICATES, find_duplicates, spanning_folds, spanning_sentence
from activessf.data.near_duplicates import VERSION as DUPLICATES_VERSION
from activessf.data.slide_files import files_of_slide
from activessf.data.slides import FAILURES_FILE, check_slides
from activessf.data.source import Source, check_classification
from activessf.errors import InputError
from activessf.launching.devices import own_cores
from activessf.manifests import CELLS, FAILURES, FOLDS, read_table, write_table
from activessf.regions.calibration_stage import Plan, calibrate
from activessf.regions.filtering import RegionFilter
from activessf.regions.overrides import read_overrides
from activessf.regions.quality.page import VERSION as QUALITY_VERSION
from activessf.regions.quality.page import write_quality
from activessf.regions.stage import Search, find_regions, search_shard
from activessf.regions.store import clear_leftovers
from activessf.regions.tiles import Tiling

log = logging.getLogger(__name__)

FOLDS_FILE = "folds.csv"
DUPLICATES_FILE = "duplicates.csv"
REGIONS_FILE = "regions.csv"

# Raised when the result of a stage changes for the same inputs.
VERSIONS = {"cells": 1, "folds": 2, "slides": 1, "regions": 4, "features": 3, "selection": 2}


class Preparation:
    """The data and stage 1, each result an artifact that names those that it is made from."""

    def __init__(self, config: DictConfig) -> None:
        """Check the settings.

        Raises:
            InputError: A setting that can't be, such as a fold that there isn't.
        """
        check_settings(config)
        self.config = config
        self.output_dir = Path(config.paths.output_dir).absolute()
        self.fold: int = config.fold.index
        self.seed: int = config.seed
        self.num_workers = _default_workers() if config.num_workers is None else int(config.num_workers)

    @cached_property
    def source(self) -> Source:
        """Labeled cells and slides; the demo's are drawn on first use."""
        source: Source = build(without(self.config.data, "name", *FOLDING))
        return hide_labels(source, self.config.hidden_labels, self.seed)

    @cached_property
    def cells(self) -> Artifact:
        """The labeled cells, cut out of their images."""
        cells = self.source.cells
        inputs = {
            "version": VERSIONS["cells"],
            "cells": fingerprint(cells.to_csv(index=False)),
            "files": files_fingerprint(self.source.root, cells["image"]),
        }
        return self.artifact(
            "cells",
            self.config.data.name,
            inputs,
            lambda folder: cut_cells(self.source.root, cells, folder, self.num_workers),
        )

    @cached_property
    def folds(self) -> Artifact:
        """The fold of every labeled cell; cells that show the same are in one, unless that is not wanted."""
        inputs = {
            "version": VERSIONS["folds"],
            "cells": self.cells.name,
            "duplicates": self.duplicates.name if self.joins_duplicates else None,
            "num_folds": self.config.data.num_folds,
            "seed": self.seed,
        }

        check_classification(self.source)

        def make(folder: Path) -> None:
            cells = read_table(self.cells.obtain() / CELLS_FILE, [*CELLS, "crop"])
            cells["joined_group"] = self._joined_groups(cells)
            table = assign_folds(cells, self.config.data.num_folds, self.seed)
            write_table(table[list(FOLDS)], folder / FOLDS_FILE)

        return self.artifact("folds", self.config.data.name, inputs, make)

    @property
    def folds_given(self) -> bool:
        """Whether the data set says which cell is in which fold."""
        return bool((self.source.cells["split"] != "").any())

    @property
    def joins_duplicates(self) -> bool:
        """Whether groups that show the same cells are joined; folds that are given stay as they are."""
        return bool(self.config.data.join_duplicates) and not self.folds_given

    def _joined_groups(self, cells: pd.DataFrame) -> pd.Series[str]:
        """The groups that folds keep whole, once they are known to be small enough; tells which were joined."""
        if not self.joins_duplicates:
            return cells["group"]
        joined = cells.assign(
            joined_group=join_groups(cells, read_table(self.duplicates.obtain() / DUPLICATES_FILE, DUPLICATES))
        )
        check_joined(joined, self.config.data.largest_joined_group)
        if sentence := joined_sentence(joined):
            log.info("%s", sentence)
        return joined["joined_group"]

    @cached_property
    def duplicates(self) -> Artifact:
        """Labeled cells that show the same, exactly or nearly; whatever the folds are."""

        def make(folder: Path) -> None:
            crops = read_table(self.cells.obtain() / CELLS_FILE, ["crop"])["crop"]
            write_table(find_duplicates(self.cells.folder, list(crops), self.num_workers), folder / DUPLICATES_FILE)

        inputs = {"version": DUPLICATES_VERSION, "cells": self.cells.name}
        return self.artifact("duplicates", self.config.data.name, inputs, make)

    @cached_property
    def spanning(self) -> pd.DataFrame:
        """Labeled cells that show the same as one of another fold, columns `near_duplicates.SPANNING`."""
        return spanning_folds(read_table(self.duplicates.obtain() / DUPLICATES_FILE, DUPLICATES), self.labeled)

    @cached_property
    def labeled(self) -> pd.DataFrame:
        """The labeled cells with their folds, columns `manifests.FOLDS`; crops relative to the cells' folder."""
        return read_table(self.folds.obtain() / FOLDS_FILE, FOLDS)

    def warn_of_duplicates(self) -> None:
        """Say before anything long runs that cells of different folds show the same."""
        if sentence := spanning_sentence(self.spanning):
            warnings.warn(sentence, stacklevel=2)

    @cached_property
    def _slide_files(self) -> str:
        """What the files of the slides hold, those beside them that they can't be read without included."""
        root = self.source.root
        names = [
            path.relative_to(root).as_posix() for slide in self.source.slides for path in files_of_slide(root / slide)
        ]
        return files_fingerprint(root, names)

    @cached_property
    def slides_identity(self) -> str:
        """What a fold's unlabeled pool depends on besides the folds: the slides, and which groups they are known by."""
        files = self._slide_files
        return fingerprint([files, dict(self.source.slide_groups)])

    @cached_property
    def slides(self) -> Artifact:
        """Which slides can be read, for pretraining on whole slides."""
        inputs = {
            "version": VERSIONS["slides"],
            "slides": self._slide_files,
        }
        return self.artifact(
            "slides",
            self.config.data.name,
            inputs,
            lambda folder: check_slides(self.source.root, self.source.slides, folder, self.num_workers),
        )

    @cached_property
    def regions(self) -> Artifact:
        """The candidate regions of all slides, shared by the folds."""
        search = self.search
        inputs = {
            "version": VERSIONS["regions"],
            "filter": plain(self.config.regions),
            "overrides": self.overrides,
            "tiling": asdict(search.tiling),
            "crop_size": search.crop_size,
            "slides": self._slide_files,
        }

        def make(folder: Path) -> None:
            clear_leftovers(search.store)
            find_regions(search, self.source.slides, folder, self.num_workers)

        return self.artifact("regions", self.config.data.name, inputs, make)

    def check_strict(self) -> None:
        """Refuse regions that an earlier run has found without some of the slides, if `strict` is set.

        Raises:
            InputError: Names the first slide that could not be read.
        """
        if self.config.strict:
            failures = read_table(self.regions.folder / FAILURES_FILE, FAILURES)
            if len(failures):
                raise InputError(
                    f"{len(failures)} slide(s) could not be read, and strict=true; the first: {failures['reason'][0]}"
                )

    @cached_property
    def quality(self) -> Artifact:
        """The page on which people judge the regions, once these are there."""
        settings = self.config.quality
        inputs = {"version": QUALITY_VERSION, "regions": self.regions.name, **plain(settings)}

        def make(folder: Path) -> None:
            write_quality(
                self.regions.folder,
                self.source.root,
                self.search.filter_of,
                folder,
                list(settings.slides),
                settings.num_fields,
                settings.num_crops,
            )

        return self.artifact("quality", self.config.data.name, inputs, make)

    @cached_property
    def search(self) -> Search:
        """What stage 1 looks for in which slide, and where it keeps what it found slide by slide."""
        region_filter: RegionFilter = build(self.config.regions)
        overrides = self.config.slide_overrides
        own = {}
        if overrides is not None:
            path = Path(overrides).expanduser().absolute()
            own = read_overrides(path, self.source.slides, region_filter, lambda name: build(region_settings(name)))
        tiling = Tiling(self.config.tiling.size, self.config.tiling.overlap)
        store = self.output_dir / "stages" / "slides_searched"
        return Search(self.source.root, region_filter, own, tiling, self.config.crop_size, store, self.config.strict)

    @property
    def overrides(self) -> dict[str, dict[str, Any]]:
        """The settings of stage 1 by slide, where a slide has its own."""
        return {slide: asdict(own) for slide, own in sorted(self.search.own_filters.items())}

    def calibrate(self) -> Path:
        """Find settings of stage 1 from the labeled cells; returns the new preset's file."""
        name, settings = str(self.config.calibrate), self.config.calibration
        plan = Plan(settings.labels, settings.num_fields, settings.check_share, settings.apart, settings.seed)
        output = self.output_dir / "calibration" / readable(name)
        output.mkdir(parents=True, exist_ok=True)
        start: RegionFilter = build(self.config.regions)
        path = calibrate(self.source.root, self.source.cells, start, plan, name, CONF / "regions", output)
        log.info("The preset is used by regions=%s; before and after are shown in %s.", name, output / "check.png")
        return path

    def search_shard(self) -> Path:
        """Work through this machine's share of the slides; the same command without a shard joins the shares."""
        search, shard, num_shards = self.search, self.config.shard, self.config.num_shards
        search_shard(search, self.source.slides, shard, num_shards, self.num_workers)
        log.info("Share %d of %d is done; once all are, the same command without shard joins them.", shard, num_shards)
        return search.store

    def artifact(self, stage: str, label: str, inputs: dict[str, Any], make: Any) -> Artifact:
        """A stage result below `output_dir/stages`."""
        return artifact(self.output_dir / "stages", stage, label, inputs, make)


def _default_workers() -> int:
    cores = own_cores()
    return 0 if cores <= 2 else min(8, cores - 1)
