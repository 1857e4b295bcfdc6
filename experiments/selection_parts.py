"""Which part of activessf_plus does what, on a pool where each could act: with copies and strangers put among it.

    python experiments/selection_parts.py recipe=quick --strangers outputs/stages/cells/NAME/crops --write DIR

The candidates of every fold are those of `python select.py` with the same settings. Of each of a third of them three
near-identical copies are added (shifted by up to two pixels, brightness changed by up to 2 %, saved as JPEG of quality
90), and as many strangers as a fifth of the candidates: crops of other cells, from a folder. All go through the network
for features as stage 2 does it. The parts are left out one by one, at a budget and without one, beside the rivals.
Columns: candidates kept; different ones among them; share of copies of something kept already; share of strangers;
recall of the rare subtypes, each copy and its original counted once. Means and sample standard deviations over folds.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from omegaconf import DictConfig
from PIL import Image
from tqdm import tqdm

from activessf.cli.spelling import canonical
from activessf.configuration import build, without
from activessf.data.folds import training_and_test
from activessf.evaluation.formatting import format_table, markdown_table
from activessf.evaluation.statistics import mean_and_deviation
from activessf.exits import telling_mistakes
from activessf.manifests import BOX, write_table, write_text
from activessf.preparation import Preparation
from activessf.selecting import Selecting
from activessf.selection.audit.truth import true_labels
from activessf.selection.strategy import Strategy

ROOT = Path(__file__).resolve().parents[1]
COPIED, COPIES, STRANGERS = 1 / 3, 3, 1 / 5
PLUS = {
    "activessf_plus": [],
    "without target": ["selection.target=null"],
    "target natural": ["selection.target=natural"],
    "target 0.5": ["selection.target=0.5"],
    "without de-duplication": ["selection.deduplicate=null"],
    "de-duplication 0.25": ["selection.deduplicate=0.25"],
    "de-duplication 0.5": ["selection.deduplicate=0.5"],
    "without abstention": ["selection.abstain=null"],
    "with K-means prototypes": ["selection.base.prototypes=kmeans"],
    "with cluster bounds": ["selection.base.bounds=cluster"],
}
BY_CLASS = ["selection.like.prototypes=per_class", "selection.like.bounds=quantile"]
RIVALS = ("random", "nearest", "class_balanced")


@dataclass(frozen=True)
class Pool:
    """The candidates of a fold, with what was added.

    Attributes:
        features: (m, d).
        original: Which candidate each is, or is a copy of; -1 for a stranger.
        truth: Class of each original, as far as labels tell.
    """

    features: NDArray[np.float32]
    original: NDArray[np.intp]
    truth: NDArray[np.object_]


@telling_mistakes
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 2 is a user's mistake."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", help="as select.py takes them, such as recipe=quick data=demo")
    parser.add_argument("--strangers", type=Path, required=True, help="folder of PNG crops of other cells")
    parser.add_argument("--budgets", type=int, nargs="+", default=[300], help="candidates kept (default 300)")
    parser.add_argument("--folds", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write FILE.csv and FILE.md too")
    options = parser.parse_args(arguments)
    os.environ.setdefault("ACTIVESSF_ROOT", str(ROOT))
    os.environ.setdefault("ACTIVESSF_PROCESS", str(os.getpid()))
    rows = [
        row
        for fold in tqdm(range(options.folds), desc="Folds", unit="fold")
        for row in one_fold(options.settings, fold, options.strangers, options.budgets)
    ]
    values, text = summarised(pd.DataFrame(rows))
    print(format_table(text))
    if options.write is not None:
        write_table(values, options.write.with_suffix(".csv"))
        write_text(markdown_table(text), options.write.with_suffix(".md"))
    return 0


def one_fold(settings: Sequence[str], fold: int, strangers: Path, budgets: list[int]) -> Iterator[dict[str, object]]:
    """What every selection keeps of the pool of a fold."""
    selecting = Selecting(Preparation(configured([*settings, "selection=activessf_plus", f"fold={fold}"])))
    prepared = selecting.prepared
    labeled = training_and_test(prepared.labeled, prepared.fold)[0]
    labels, classes, rare = labeled["label"].to_numpy(str), list(prepared.source.classes), set(prepared.source.rare)
    with TemporaryDirectory() as scratch:
        own, pool = pool_of(selecting, labeled, strangers, Path(scratch))
    for name, limit, strategy in strategies(settings, budgets):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # too few for a budget: the table tells
            selection = strategy.select(own, labels, classes, pool.features, prepared.seed)
        yield {"selection": name, "budget": limit, **told(selection.kept, pool, rare)}


def pool_of(
    selecting: Selecting, labeled: pd.DataFrame, strangers: Path, scratch: Path
) -> tuple[NDArray[np.float32], Pool]:
    """Features of the labeled cells, and the pool."""
    prepared = selecting.prepared
    regions = selecting.candidates("train_fold")
    with selecting.selection_features(labeled["crop"], regions["crop"], scratch) as features:
        known, candidates = features.labeled, np.array(features.candidates)
        rng = np.random.default_rng(prepared.seed)
        copied = rng.permutation(len(regions))[: round(COPIED * len(regions))]
        sources = [prepared.regions.folder / crop for crop in regions["crop"].iloc[copied]]
        files = [path for copy in range(COPIES) for path in copies(sources, scratch / str(copy), rng)]
        found = sorted(strangers.rglob("*.png"))
        others = [found[row] for row in rng.permutation(len(found))[: round(STRANGERS * len(regions))]]
        added = features.transform(selecting.extractor([*files, *others], 0, "Features of copies and strangers"))
    cells = prepared.source.cells if prepared.source.truth is None else prepared.source.truth
    boxed = cells[np.isfinite(cells[list(BOX)].to_numpy(float)).all(axis=1)]
    original = np.concatenate([np.arange(len(regions)), np.tile(copied, COPIES), np.full(len(others), -1)])
    return known, Pool(np.concatenate([candidates, added]), original, true_labels(regions, boxed))


def copies(sources: Sequence[Path], folder: Path, rng: np.random.Generator) -> Iterator[Path]:
    """Near-identical copies of crops, as the overlap of two fields or a second scan would give them."""
    folder.mkdir()
    for number, path in enumerate(sources):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB")).astype(np.float64)
        shifted = np.roll(pixels, tuple(rng.integers(-2, 3, 2)), axis=(0, 1)) * rng.uniform(0.98, 1.02)
        made = folder / f"{number}.jpg"
        Image.fromarray(shifted.clip(0, 255).astype(np.uint8)).save(made, quality=90)
        yield made


def strategies(settings: Sequence[str], budgets: Sequence[int]) -> Iterator[tuple[str, int | None, Strategy]]:
    """Name, budget and strategy of every row."""
    for limit in (*budgets, None):
        at = [] if limit is None else [f"selection.budget={limit}"]
        for name, changes in PLUS.items():
            yield name, limit, strategy([*settings, "selection=activessf_plus", *changes, *at])
    for limit in budgets:
        for name in RIVALS:
            at = [f"selection={name}", *BY_CLASS, f"selection.budget={limit}"]
            yield f"{name}, by class", limit, strategy([*settings, *at])


def strategy(settings: Sequence[str]) -> Strategy:
    """The configured selection."""
    made: Strategy = build(without(configured(settings).selection, "name", "pool", "scope", "features"))
    return made


def configured(settings: Sequence[str]) -> DictConfig:
    """The configuration of select.py with these settings."""
    with initialize_config_dir(str(ROOT / "conf"), version_base=None):
        return compose("config", canonical(list(settings)))


def told(kept: NDArray[np.bool_], pool: Pool, rare: set[str]) -> dict[str, object]:
    """One fold's figures."""
    original = pool.original[kept]
    different = np.unique(original[original >= 0])
    recalls = [
        np.isin(np.flatnonzero(pool.truth == name), different).mean() for name in rare if (pool.truth == name).any()
    ]
    return {
        "kept": len(original),
        "different": len(different),
        "copies": ((original >= 0).sum() - len(different)) / max(1, len(original)),
        "strangers": (original < 0).sum() / max(1, len(original)),
        "rare_recall": float(np.mean(recalls)) if recalls else np.nan,
    }


def summarised(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means and deviations over the folds, as numbers and as people read them."""
    columns = {"kept": 1, "different": 1, "copies": 100, "strangers": 100, "rare_recall": 100}
    values, text = [], []
    for (name, budget), part in rows.groupby(["selection", "budget"], dropna=False, sort=False):
        spreads = {column: mean_and_deviation(part[column].tolist()) for column in columns}
        numbers = {
            f"{column}{end}": value
            for column, pair in spreads.items()
            for end, value in zip(("", "_sd"), pair, strict=True)
        }
        limit = "-" if pd.isna(budget) else f"{budget:.0f}"
        values.append({"selection": name, "budget": limit, "folds": len(part), **numbers})
        shown = {c: f"{f * spreads[c][0]:.1f} \N{PLUS-MINUS SIGN} {f * spreads[c][1]:.1f}" for c, f in columns.items()}
        titles = dict(zip(columns, ("Kept", "Different", "Copies, %", "Strangers, %", "Rare recall, %"), strict=True))
        text.append({"Selection": name, "Budget": limit, **{titles[c]: cell for c, cell in shown.items()}})
    return pd.DataFrame(values), pd.DataFrame(text)


if __name__ == "__main__":
    sys.exit(main())
