"""All tables of one section of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from activessf.evaluation.baselines import NO_SELECTION, Baseline
from activessf.evaluation.comparisons import Comparison, compare
from activessf.evaluation.intervals import Interval, Pooled, pooled_pr_auc
from activessf.evaluation.runs import Run, marked_classes, union_of_classes
from activessf.evaluation.tables.ablation import ablation_table
from activessf.evaluation.tables.comparisons import class_comparisons_table, comparisons_table
from activessf.evaluation.tables.intervals import intervals_table
from activessf.evaluation.tables.overall import further_metrics_table, overall_table
from activessf.evaluation.tables.per_class import calibration_table, long_tail_table, per_class_table
from activessf.evaluation.tables.published import published_differences_table, published_scores_table
from activessf.evaluation.tables.table import Table

# The names of all that there may be, in the order of a report.
TABLES = (
    *("overall", "further_metrics", "per_class", "long_tail", "intervals", "calibration", "comparisons"),
    *("class_comparisons", "ablation", "published_differences", "published_scores"),
)


def section_tables(
    runs: Sequence[Run],
    comparisons: Sequence[Comparison],
    counts: Mapping[str, int],
    num_resamples: int,
    baseline: Baseline = NO_SELECTION,
) -> list[Table]:
    """The tables of a section, in the order of a report; those that its runs give no row for are left out.

    Args:
        runs: Runs of one section, in the order of rows.
        comparisons: Accuracy, PR-AUC and F1 of its runs against their baselines.
        counts: Labeled cells of each class over all folds.
        num_resamples: Number of bootstrap resamples.
        baseline: What the runs were compared with. The paper's gains stand beside those against selection=none.
    """
    rare, common = marked_classes(runs, "rare"), marked_classes(runs, "common")
    rare_first = sorted(union_of_classes(runs), key=lambda name: (name not in rare, counts.get(name, 0)))
    by_class_metrics = [f"pr_auc/{name}" for name in rare_first]
    by_class = compare(runs, by_class_metrics, baseline)
    gains, gains_by_class = comparisons, by_class
    if baseline != NO_SELECTION:
        gains, gains_by_class = compare(runs), compare(runs, by_class_metrics)
    pooled = {run.name: pooled_pr_auc(run, list(run.folds), num_resamples) for run in runs}
    differences = _pooled_differences(comparisons, pooled, num_resamples)
    tables: list[Table | None] = [
        overall_table(runs, comparisons, baseline),
        further_metrics_table(runs),
        per_class_table(runs, rare, common),
        long_tail_table(runs, counts, rare, common),
        intervals_table(runs, pooled, rare, common),
        calibration_table(runs, rare, common),
        comparisons_table(runs, comparisons, differences, baseline),
        class_comparisons_table(by_class, differences, rare, common, baseline) if by_class else None,
        ablation_table(runs),
        published_differences_table(runs, gains, gains_by_class),
        published_scores_table(runs),
    ]
    found = [table for table in tables if table is not None]
    assert {table.name for table in found} <= set(TABLES)
    return found


def _pooled_differences(
    comparisons: Sequence[Comparison], pooled: Mapping[str, Pooled], num_resamples: int
) -> dict[str, dict[str, Interval]]:
    """Intervals of run minus baseline over their paired folds, by the name of the run."""
    found = {}
    for item in comparisons:
        if item.folds and item.run.name not in found:
            ours, theirs = (
                pooled[run.name] if item.folds == tuple(run.folds) else pooled_pr_auc(run, item.folds, num_resamples)
                for run in (item.run, item.baseline)
            )
            found[item.run.name] = ours.minus(theirs)
    return found
