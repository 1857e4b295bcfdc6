"""The audit of a selection: what a fold's decision was, set against all that is known of the candidates."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from activessf.artifacts import Artifact, fingerprint
from activessf.configuration import plain
from activessf.data.cells import CELLS_FILE
from activessf.data.folds import training_and_test
from activessf.manifests import BOX, REGIONS, read_json, read_table, write_table
from activessf.preparation import REGIONS_FILE, VERSIONS
from activessf.selecting import Selecting, SelectionFeatures
from activessf.selection.audit.decided import read_decided
from activessf.selection.audit.page import PLANTED_FILE, SUMMARY_FILE, write_page, write_tables
from activessf.selection.audit.page import VERSION as AUDIT_VERSION
from activessf.selection.audit.planted import PLANTED, planted_check
from activessf.selection.audit.projection import MAP, project
from activessf.selection.audit.truth import true_labels

log = logging.getLogger(__name__)

_MAP_FILE = "map.csv"
_CELL = ("image", "label", *BOX)


@dataclass(frozen=True)
class HeldOut:
    """What is planted among the candidates: cells of the fold that is tested.

    Attributes:
        kind: `regions`: regions of stage 1 that show such cells. `boxes`: the labeled boxes.
        labels: Class of each.
        crops: Their files, relative to the folder of the regions or of the cells.
    """

    kind: str
    labels: pd.Series[str]
    crops: pd.Series[str]


class Auditing:
    """The audit of one configuration and fold, made from what `Selecting` gives.

    Args:
        selecting: Its selection is audited.
        with_page: Whether the page is made too, with its pictures; the tables take seconds.
    """

    def __init__(self, selecting: Selecting, with_page: bool) -> None:
        prepared = selecting.prepared
        self.selecting = selecting
        self.prepared = prepared
        self.settings = prepared.config.audit
        self.with_page = with_page
        self.shared = prepared.config.selection.scope == "all"

    @cached_property
    def audit(self) -> Artifact:
        """Tables of the audit, and its page if asked for."""
        selecting, prepared, settings = self.selecting, self.prepared, self.settings
        inputs = {
            "version": AUDIT_VERSION,
            "selection": selecting.selection.name,
            "cells": prepared.cells.name,
            "truth": self._truth,
            "rare": list(prepared.source.rare),
            "planted": None if self.shared else settings.planted,
            "page": {"num_crops": settings.num_crops, "map": settings.map_points} if self.with_page else None,
        }
        label = f"{prepared.config.data.name}-{selecting.selection.name}"
        return prepared.artifact("audits", label, inputs, self._make)

    @property
    def _truth(self) -> str | None:
        truth = self.prepared.source.truth
        return None if truth is None else fingerprint(truth.to_csv(index=False))

    def _make(self, output: Path) -> None:
        selecting, prepared = self.selecting, self.prepared
        selected = selecting.selection.obtain()
        labeled, test = self._learned_and_test()
        regions = read_table(prepared.regions.folder / REGIONS_FILE, REGIONS)
        source = prepared.source
        decided = read_decided(
            selected, regions, _boxed(labeled), _boxed(source.truth), source.classes, source.rare
        )  # fmt: skip
        held_out = None if self.shared or self.settings.planted is None else self._held_out(regions, test)
        with selecting.selection_features(labeled["crop"], decided.candidates["crop"], output) as features:
            planted = None if held_out is None else self._planted(labeled, features, held_out, output)
            facts = {**self._facts(held_out), "test_cells": None if self.shared else len(test)}
            write_tables(decided, planted, facts, output)
            if self.with_page:
                places = self._places(features)
                labels = labeled["label"].tolist()
                folder = prepared.regions.folder
                write_page(decided, labels, planted, places, facts, folder, output, self.settings.num_crops)

    def _learned_and_test(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The labeled cells that the selection learnt from, and those of the fold that is tested."""
        known = self.prepared.labeled
        training, test = training_and_test(known, self.prepared.fold)
        return (known if self.shared else training), test

    def _held_out(self, regions: pd.DataFrame, test: pd.DataFrame) -> HeldOut:
        """The fold's test cells, as the regions that show one of them, or as they are where there is no such region."""
        if self.settings.planted == "regions":
            there = regions[regions["image"].isin(set(test["image"]))].reset_index(drop=True)
            shown = pd.Series(true_labels(there, _boxed(test)), dtype=str)
            known = shown.isin(self.prepared.source.classes)
            if known.any():
                return HeldOut("regions", shown[known], there["crop"][known])
            log.info("Stage 1 found no region that shows a test cell; their labeled boxes are planted instead.")
        return HeldOut("boxes", test["label"], test["crop"])

    def _planted(
        self, labeled: pd.DataFrame, features: SelectionFeatures, held_out: HeldOut, workspace: Path
    ) -> pd.DataFrame:
        selecting, prepared, source = self.selecting, self.prepared, self.prepared.source
        part, table = (prepared.regions, REGIONS_FILE) if held_out.kind == "regions" else (prepared.cells, CELLS_FILE)
        strategy = selecting.strategy
        assert strategy is not None
        return planted_check(
            strategy,
            features.labeled,
            labeled["label"].to_numpy(str),
            source.classes,
            source.rare,
            features.candidates,
            selecting.features_of(part, table, held_out.crops, features),
            held_out.labels.to_numpy(str),
            prepared.seed,
            workspace,
        )

    def _facts(self, held_out: HeldOut | None) -> dict[str, Any]:
        """See `write_tables`."""
        selecting, prepared, selection = self.selecting, self.prepared, plain(self.prepared.config.selection)
        extractor = selecting.extractor if selecting.needs_features else None
        return {
            "data": prepared.config.data.name,
            "selection": selection["name"],
            "folder": selecting.selection.name,
            "fold": None if self.shared else prepared.fold,
            "seed": prepared.seed,
            "strategy": {key: value for key, value in selection.items() if key not in ("name", "pool", "features")},
            "planted": None if held_out is None else held_out.kind,
            "among": {
                "regions": prepared.regions.name,
                "folds": prepared.folds.name,
                "scope": selection["scope"],
                "planted": self.settings.planted if held_out is None else held_out.kind,
                "truth": self._truth,
                "versions": {"audit": AUDIT_VERSION, "selection": VERSIONS["selection"]},
                "features": None if extractor is None else {**extractor.setting(), "version": VERSIONS["features"]},
            },
        }

    def _places(self, features: SelectionFeatures) -> pd.DataFrame:
        """The map, which all selections of the same fold and features share."""
        selecting, prepared = self.selecting, self.prepared
        if not selecting.needs_features:
            return pd.DataFrame(columns=list(MAP))
        inputs = {
            "version": AUDIT_VERSION,
            "cells": prepared.cells.name,
            "among": self._facts(None)["among"],
            "features": selecting.extractor.identity(),
            "slides": prepared.slides_identity,
            "fold": None if self.shared else prepared.fold,
            "seed": prepared.seed,
            "points": self.settings.map_points,
        }

        def make(folder: Path) -> None:
            log.info("Drawing the map of at most %d features.", self.settings.map_points)
            places = project(features.labeled, features.candidates, prepared.seed, self.settings.map_points)
            write_table(places, folder / _MAP_FILE)

        artifact = prepared.artifact("maps", prepared.config.data.name, inputs, make)
        return read_table(artifact.obtain() / _MAP_FILE, MAP)


def planted_sentence(folder: Path) -> str:
    """The planted check in a sentence, for the end of a command; empty where there was none."""
    path = folder / PLANTED_FILE
    if not path.is_file():
        return ""
    table = read_table(path, PLANTED)
    planted, kept = int(table["planted"].sum()), int(table["kept"].sum())
    rare = table[(table["rare"].astype(str) == "True") & (table["planted"] > 0)]
    of_rare = f", {int(rare['kept'].sum())} of {int(rare['planted'].sum())} of the rare classes" if len(rare) else ""
    facts = read_json(folder / SUMMARY_FILE)
    what = "regions that show cells" if facts["planted"] == "regions" else "cells"
    return (
        f"Of {planted} {what} of the test fold (it has {facts['test_cells']}) put among the candidates {kept} would be "
        f"kept{of_rare}."
    )


def _boxed(cells: pd.DataFrame | None) -> Any:
    """Cells with a place; a cell image of its own lies in no slide."""
    if cells is None:
        return None
    boxed = cells[list(_CELL)]
    return boxed[np.isfinite(boxed[list(BOX)].to_numpy(float)).all(axis=1)].reset_index(drop=True)
