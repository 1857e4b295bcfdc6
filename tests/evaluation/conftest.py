"""Run folders as the pipeline writes them, made up."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from activessf.evaluation import report

COUNTS = {
    "P-MK": 24, "IMK": 38, "CA-MK": 12, "G-MK": 150, "PP-MK": 60, "NN-MK": 70,
    "N-MK": 40, "S-MK": 48, "MMK": 36, "MR-MK": 30, "HL-MK": 14,
}  # fmt: skip


def made_up_predictions(
    counts: dict[str, int],
    fold: int,
    num_folds: int,
    skill: float,
    seed: int = 0,
    absent: Sequence[str] = (),
    groups: int = 0,
) -> pd.DataFrame:
    """Test cells of one fold, the same for any `skill` (how well they are told apart) and `seed`; of so many groups."""
    classes = list(counts)
    labels = [
        name for name, count in counts.items() if name not in absent for i in range(count) if i % num_folds == fold
    ]
    rng = np.random.default_rng([seed, fold])
    logits = rng.normal(size=(len(labels), len(classes)))
    bonus = np.array([skill * (0.6 + 0.4 * counts[name] / max(counts.values())) for name in labels])
    logits[np.arange(len(labels)), [classes.index(name) for name in labels]] += bonus
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    cells = pd.DataFrame(
        {
            "image": [f"slide_{fold}_{index // 7}.png" for index in range(len(labels))],
            "x": [10.0 * index for index in range(len(labels))],
            "y": 5.0,
            "width": 40.0,
            "height": 40.0,
            "group": [f"patient_{fold}_{index % groups}" if groups else "" for index in range(len(labels))],
            "fold": fold,
            "label": labels,
            "predicted": [classes[index] for index in probabilities.argmax(axis=1)],
        }
    )
    return pd.concat([cells, pd.DataFrame(probabilities, columns=[f"p_{name}" for name in classes])], axis=1)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without figures, whose drawing takes most of the time, where nothing is said of figures."""
    monkeypatch.setattr(report, "section_figures", lambda section, folder, baseline: [])


@pytest.fixture
def made_up() -> Callable[..., pd.DataFrame]:
    return made_up_predictions


def run_writer(folder: Path) -> Callable[..., Path]:
    """A function that writes one run below <folder>/runs and gives back its folder."""

    def write(
        name: str,
        method: str = "mae",
        selection: str = "activessf",
        folds: Sequence[int] = range(5),
        unfinished: Sequence[int] = (),
        skill: float = 3.0,
        counts: dict[str, int] = COUNTS,
        absent: dict[int, list[str]] | None = None,
        settings: dict[str, Any] | None = None,
        choices: dict[str, str] | None = None,
        title: str | None = None,
        seed: int = 0,
        scope: str | None = None,
        rare: Sequence[str] = ("CA-MK", "HL-MK"),
        common: Sequence[str] = ("G-MK",),
        num_folds: int = 5,
        groups: int = 0,
        predictions: Callable[[int], pd.DataFrame] | None = None,
    ) -> Path:
        all_choices = {
            "data": "demo", "regions": "paper", "backbone": "vit_tiny", "ssl_method": method,
            "selection": selection, "loss": "cross_entropy", "recipe": "quick",
        }  # fmt: skip
        for fold in [*folds, *unfinished]:
            place = folder / "runs" / name / f"fold_{fold}"
            place.mkdir(parents=True)
            details = {
                "run": name, "fold": fold, "title": title or f"{method} + {selection}",
                "choices": all_choices | (choices or {}),
                "settings": {"data.num_folds": num_folds, "selection.name": selection} | (settings or {}),
                "overrides": [f"ssl_method={method}", f"selection={selection}"],
                "command": f"python train.py ssl={method} selection={selection} fold={fold}",
                "seed": seed, "scope": scope, "classes": list(counts), "rare": list(rare), "common": list(common),
                "pretraining_images": None if method == "none" else 211, "pretraining_steps": 100,
                "started": "2025-01-31T10:00:00+00:00",
                "seconds": {"finetuning": 30.3, "pretraining": None if method == "none" else 61.0},
                "versions": {"python": "3.11.7", "torch": "2.14.1"}, "git": "0123abc",
            }  # fmt: skip
            (place / "run.json").write_text(json.dumps(details), encoding="utf-8")
            if fold in folds:
                frame = (
                    predictions(fold)
                    if predictions
                    else made_up_predictions(
                        counts, fold, num_folds, skill, sum(map(ord, name)), (absent or {}).get(fold, []), groups
                    )
                )
                frame.to_csv(place / "predictions.csv", index=False)
        return folder / "runs" / name

    return write


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes one run below <tmp_path>/runs and gives back its folder."""
    return run_writer(tmp_path)


@pytest.fixture(scope="module")
def write_shared_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The same, for runs that all tests of a module read."""
    return run_writer(tmp_path_factory.mktemp("shared"))
