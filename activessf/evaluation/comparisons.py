"""Each run against its baseline, the run that is the same but for one option: tests over the folds that both have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from activessf.evaluation.baselines import NO_SELECTION, Baseline
from activessf.evaluation.runs import Run
from activessf.evaluation.statistics import (
    PairedTest,
    corrected_t_test,
    effect_size,
    holm,
    paired_t_test,
    wilcoxon_p,
)
from activessf.manifests import BOX

METRICS = ("accuracy", "pr_auc", "f1")
SIGNIFICANT = 0.05
WORSE = "\N{DOWNWARDS ARROW}"


@dataclass(frozen=True)
class Comparison:
    """One metric of a run against the same metric of its baseline, fold by fold.

    Attributes:
        run: The run.
        baseline: The run that it is compared with.
        metric: accuracy, pr_auc, f1, or pr_auc/<class>.
        folds: The folds that are paired: both have them, with the same test cells, and the metric in them.
        plain: Paired t-test, as in the paper.
        corrected: Nadeau-Bengio test on the same pairs.
        wilcoxon_p: p of Wilcoxon's signed-rank test, NaN of fewer than six pairs that differ.
        effect_size: Standardised mean difference of the pairs (Hedges' g), NaN where there is no test.
        holm_p: p of `corrected` after Holm's correction over all comparisons that were made at once.
    """

    run: Run
    baseline: Run
    metric: str
    folds: tuple[int, ...]
    plain: PairedTest
    corrected: PairedTest
    wilcoxon_p: float
    effect_size: float
    holm_p: float

    @property
    def stars(self) -> str:
        """`*` for a plain p below 0.05 (the paper's mark), `**` where the twice corrected one is below it too.

        An arrow down follows where the run is worse than its baseline.
        """
        mark = "**" if self.holm_p < SIGNIFICANT else "*" if self.plain.p < SIGNIFICANT else ""
        return mark + WORSE if mark and self.plain.difference < 0 else mark


def compare(
    runs: Sequence[Run], metrics: Sequence[str] = METRICS, baseline: Baseline = NO_SELECTION
) -> list[Comparison]:
    """All comparisons of one section, run by run in the given order; runs without a baseline have none.

    Args:
        runs: The runs of the section.
        metrics: What is compared; all of it is one family in Holm's correction.
        baseline: What the runs are compared with.
    """
    drafts = []
    for run in runs:
        other = baseline.of(run, runs)
        if other is not None:
            folds = paired_folds(run, other)
            drafts += [_comparison(run, other, folds, metric) for metric in metrics]
    holm_p = holm([draft.corrected.p for draft in drafts])
    return [replace(draft, holm_p=p) for draft, p in zip(drafts, holm_p, strict=True)]


def paired_folds(first: Run, second: Run) -> tuple[int, ...]:
    """The folds that both runs have finished, on the same labeled test cells."""
    return tuple(
        fold
        for fold in first.folds
        if fold in second.folds and cells_of(first.folds[fold].predictions) == cells_of(second.folds[fold].predictions)
    )


def cells_of(predictions: pd.DataFrame) -> list[tuple[Any, ...]]:
    """The test cells and their labels, whatever was predicted, sorted."""
    cells = predictions[["image", *BOX, "label"]].fillna({side: -1 for side in BOX})
    return sorted(cells.itertuples(index=False, name=None))


def _comparison(run: Run, baseline: Run, paired: Sequence[int], metric: str) -> Comparison:
    """The comparison but for Holm's correction, which needs the others."""
    folds = tuple(fold for fold in paired if metric in run.folds[fold].metrics)
    before = [_value(baseline, fold, metric) for fold in folds]
    after = [_value(run, fold, metric) for fold in folds]
    ratio = 1 / (run.num_folds - 1) if run.num_folds > 1 else math.nan
    return Comparison(
        run=run,
        baseline=baseline,
        metric=metric,
        folds=folds,
        plain=paired_t_test(before, after),
        corrected=corrected_t_test(before, after, ratio),
        wilcoxon_p=wilcoxon_p(before, after),
        effect_size=effect_size(before, after),
        holm_p=math.nan,
    )


def _value(run: Run, fold: int, metric: str) -> float:
    value = run.folds[fold].metrics[metric]
    assert isinstance(value, float)
    return value
