"""Stage 2 of one configuration and fold: from candidate regions to the images that pretraining sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from activessf.artifacts import Artifact, fingerprint, readable
from activessf.configuration import build, without
from activessf.data.cells import CELLS_FILE
from activessf.data.folds import training_and_test, unlabeled_pool
from activessf.data.slides import SLIDES_FILE
from activessf.errors import InputError
from activessf.manifests import REGIONS, read_table
from activessf.preparation import REGIONS_FILE, VERSIONS, Preparation
from activessf.selection.feature_store import FeatureStore, Rows, chosen_rows, crop_key, write_features
from activessf.selection.features import FeatureExtractor
from activessf.selection.stage import select_regions, selected_crops
from activessf.selection.strategy import Strategy
from activessf.selection.whitening import Apply

FEATURES_FILE = "features.npy"

_NO_PART_IN_SELECTION = ("name", "pool", "scope", "features")


@dataclass(frozen=True)
class SelectionFeatures:
    """Features as one fold's selection sees them.

    Attributes:
        labeled: Of the labeled cells, (n, d).
        candidates: Of the candidate regions, (m, d); memory-mapped.
        transform: What was done to the network's features.
    """

    labeled: Rows
    candidates: Rows
    transform: Apply


class Selecting:
    """Which images pretraining sees, and the features by which that is decided, on what `Preparation` gives."""

    def __init__(self, prepared: Preparation) -> None:
        self.prepared = prepared
        self.config = prepared.config

    @cached_property
    def selection(self) -> Artifact:
        """Which of the fold's candidate regions pretraining sees."""
        prepared, strategy, scope = self.prepared, self.strategy, self.config.selection.scope
        assert strategy is not None
        inputs: dict[str, Any] = {
            "version": VERSIONS["selection"],
            "strategy": without(self.config.selection, *_NO_PART_IN_SELECTION),
            "scope": scope,
            "classes": list(prepared.source.classes),
            "regions": prepared.regions.name,
            "slides": prepared.slides_identity,
            "folds": prepared.folds.name,
            "fold": None if scope == "all" else prepared.fold,
            "seed": prepared.seed,
        }
        if self.needs_features:
            inputs["features"] = {"version": VERSIONS["features"], **self.extractor.identity()}
            inputs["transform"] = asdict(self.extractor.transform)

        def make(folder: Path) -> None:
            regions = self.candidates(scope)
            labeled = prepared.labeled if scope == "all" else training_and_test(prepared.labeled, prepared.fold)[0]
            with self.selection_features(labeled["crop"], regions["crop"], folder) as features:
                select_regions(
                    strategy,
                    features.labeled,
                    labeled["label"].to_numpy(str),
                    prepared.source.classes,
                    list(regions["crop"]),
                    features.candidates,
                    prepared.seed,
                    folder,
                )

        return prepared.artifact("selection", f"{self.config.selection.name}", inputs, make)

    @cached_property
    def strategy(self) -> Strategy | None:
        """The selection strategy; None where pretraining sees whole slides."""
        if self.config.selection.pool == "slides":
            return None
        strategy: Strategy = build(without(self.config.selection, *_NO_PART_IN_SELECTION))
        return strategy

    @property
    def needs_features(self) -> bool:
        """Whether the selection looks at features."""
        return self.strategy is not None and self.strategy.needs_features

    def candidates(self, scope: str) -> pd.DataFrame:
        """The candidate regions of the fold, or of all (`scope=all`); columns `manifests.REGIONS`."""
        if scope not in ("train_fold", "all"):
            raise InputError(f"selection.scope={scope} is neither train_fold nor all.")
        regions = read_table(self.prepared.regions.obtain() / REGIONS_FILE, REGIONS)
        if scope == "all":
            return regions
        return regions[regions["image"].isin(set(self.pool()))]

    def pool(self) -> list[str]:
        """The slides of which pretraining may see something: none of the fold that is tested."""
        prepared, source = self.prepared, self.prepared.source
        return unlabeled_pool(source.slides, prepared.labeled, prepared.fold, source.slide_groups)

    def check_features(self) -> None:
        """Refuse a network for features whose weights aren't at hand, within seconds: before slides are even listed.

        Where features of this network have been computed before, `extractor` tells whether it is needed again.

        Raises:
            InputError: The weights are missing, and how to go on without them.
        """
        if not self.needs_features:
            return
        extractor = self._configured_extractor()
        computed = (self.prepared.output_dir / "stages" / "features").glob(f"*-{readable(extractor.model_name)}-*")
        if not any(computed):
            extractor.check()

    @cached_property
    def extractor(self) -> FeatureExtractor:
        """The network for features; its weights are checked if it has something to compute."""
        extractor, parts = self._configured_extractor(), (self.prepared.cells, self.prepared.regions)
        if not all(self._feature_artifact(part, "", extractor).ready for part in parts):
            extractor.check()
        return extractor

    def _configured_extractor(self) -> FeatureExtractor:
        extractor: FeatureExtractor = build(self.config.selection.features)
        return extractor.of_fold(self.prepared.fold)

    @contextmanager
    def selection_features(
        self, labeled: pd.Series[str], candidates: pd.Series[str], scratch: Path
    ) -> Iterator[SelectionFeatures]:
        """Features of labeled cells and of candidate regions as selection sees them; of no width if it looks at none.

        There may be millions of candidates: theirs are a file in `scratch` that is memory-mapped, and gone afterwards.

        Raises:
            InputError: The network for features has learned from the fold's test cells, or can't be had.
        """
        if not self.needs_features or candidates.empty:
            yield SelectionFeatures(_no_features(labeled), _no_features(candidates), lambda rows: rows)
            return
        self.extractor.check_unseen(training_and_test(self.prepared.labeled, self.prepared.fold)[1])
        cells, own = self._feature_rows(self.prepared.cells, CELLS_FILE, labeled)
        regions, rows = self._feature_rows(self.prepared.regions, REGIONS_FILE, candidates)
        known: Rows = np.concatenate(list(chosen_rows(cells, own)))
        transform = self.extractor.transform.fit(
            known, lambda some: np.concatenate(list(chosen_rows(regions, some))), rows, self.prepared.seed
        )
        with TemporaryDirectory(dir=scratch) as folder:
            path = Path(folder) / FEATURES_FILE
            write_features(map(transform, chosen_rows(regions, rows)), len(rows), path)
            candidate_features = np.load(path, mmap_mode="r", allow_pickle=False)
            yield SelectionFeatures(transform(known), candidate_features, transform)

    def features_of(self, part: Artifact, table: str, crops: pd.Series[str], like: SelectionFeatures) -> Rows:
        """Features of some crops of a stage result, (k, d), transformed as those that a selection sees."""
        if not like.labeled.shape[1]:
            return _no_features(crops)
        path, rows = self._feature_rows(part, table, crops)
        return like.transform(np.concatenate(list(chosen_rows(path, rows))))

    def _feature_rows(self, part: Artifact, table: str, crops: pd.Series[str]) -> tuple[Path, NDArray[np.intp]]:
        """The file of features of a stage result, and which of its rows are those of some of the crops."""
        known = pd.Index(read_table(part.obtain() / table, ["crop"])["crop"])
        folder = self._feature_artifact(part, table, self.extractor).obtain()
        return folder / FEATURES_FILE, known.get_indexer(crops)

    def feature_artifacts(self) -> list[Artifact]:
        """What the selection looks at: features of the labeled cells and of all candidate regions."""
        parts = ((self.prepared.cells, CELLS_FILE), (self.prepared.regions, REGIONS_FILE))
        return [self._feature_artifact(part, table, self.extractor) for part, table in parts]

    def _feature_artifact(self, part: Artifact, table: str, extractor: FeatureExtractor) -> Artifact:
        prepared = self.prepared
        inputs = {"version": VERSIONS["features"], "images": part.name, "extractor": extractor.identity()}

        def make(folder: Path) -> None:
            paths = [part.folder / crop for crop in read_table(part.folder / table, ["crop"])["crop"]]
            keys = [crop_key(path) for path in paths]
            kept = fingerprint([VERSIONS["features"], inputs["extractor"]])
            store = FeatureStore(prepared.output_dir / "stages" / "feature_store" / kept)
            description = f"Features of {part.folder.parent.name}"
            store.complete(paths, keys, lambda missing: extractor.batches(missing, prepared.num_workers, description))
            write_features(store.blocks(keys), len(keys), folder / FEATURES_FILE)

        return prepared.artifact("features", f"{part.folder.parent.name}-{extractor.model_name}", inputs, make)

    def pretraining_images(self) -> list[Path]:
        """The images that pretraining sees: selected regions, or whole slides.

        None comes from an image with a test cell of the fold, unless `selection.scope=all` asked for that.
        """
        if self.config.selection.pool == "slides":
            readable = set(read_table(self.prepared.slides.obtain() / SLIDES_FILE, ["image"])["image"])
            pool = [name for name in self.pool() if name in readable]
            if not pool:
                raise InputError(
                    "Every slide holds a test cell of this fold, so there is nothing to pretrain on; give the cells "
                    "their groups (patient or slide), or add slides without labeled cells."
                )
            return [self.prepared.source.root / name for name in pool]
        self.selection.obtain()
        regions = self.prepared.regions.obtain()
        return [regions / crop for crop in selected_crops(self.selection.folder)]

    def pretraining_sources(self) -> pd.DataFrame:
        """The slide of each of `pretraining_images`, and its group as far as it is known: columns image, group."""
        prepared, images = self.prepared, self.pretraining_images()
        if self.config.selection.pool == "slides":
            names = [path.relative_to(prepared.source.root).as_posix() for path in images]
        else:
            regions = read_table(prepared.regions.folder / REGIONS_FILE, REGIONS).set_index("crop")["image"]
            names = list(regions.loc[[path.relative_to(prepared.regions.folder).as_posix() for path in images]])
        groups = prepared.source.slide_groups
        return pd.DataFrame({"image": names, "group": [groups.get(name, "") for name in names]})


def _no_features(crops: pd.Series[str]) -> Rows:
    return np.zeros((len(crops), 0), np.float32)
