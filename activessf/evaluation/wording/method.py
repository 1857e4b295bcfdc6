"""The method section: what was done, topic by topic; what runs share is said once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from activessf.evaluation.baselines import NO_SELECTION, Baseline
from activessf.evaluation.runs import Run, marked_classes
from activessf.evaluation.stages import region_summary
from activessf.evaluation.wording.selecting import regions_paragraph, selection_paragraph
from activessf.evaluation.wording.study import data_paragraph, evaluation_paragraph, software_paragraph
from activessf.evaluation.wording.training import finetuning_paragraph, pretraining_paragraph


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of the method section.

    Attributes:
        text: What was done; plain text.
        runs: Titles of the runs of which it holds; none where it holds of all.
    """

    text: str
    runs: tuple[str, ...] = ()


def method_section(
    runs: Sequence[Run], cells: pd.DataFrame, num_resamples: int, baseline: Baseline = NO_SELECTION
) -> dict[str, list[Paragraph]]:
    """What was done, by topic in the order of a paper, from nothing but what the runs have recorded.

    Settings that no sentence knows are left to the runs' own tables; a sentence whose settings were not recorded is
    left out.

    Args:
        runs: Runs of one section.
        cells: Their distinct test cells: image, label, group, fold.
        num_resamples: Number of bootstrap resamples that intervals rest on.
        baseline: What the runs were compared with.
    """
    rare, common = marked_classes(runs, "rare"), marked_classes(runs, "common")
    summaries = {run.name: region_summary(next(iter(run.folds.values()))) for run in runs}
    topics = {
        "Data": [Paragraph(data_paragraph(runs, cells, rare, common))],
        "Cell regions": _by_run(runs, [regions_paragraph(run, summaries[run.name]) for run in runs]),
        "Selection": _by_run(runs, [selection_paragraph(run) for run in runs]),
        "Pretraining": _by_run(runs, [pretraining_paragraph(run) for run in runs]),
        "Fine-tuning": _by_run(runs, [finetuning_paragraph(run) for run in runs]),
        "Evaluation": [Paragraph(evaluation_paragraph(runs, cells, num_resamples, baseline))],
        "Software and time": [Paragraph(software_paragraph(runs))],
    }
    return {topic: paragraphs for topic, paragraphs in topics.items() if paragraphs}


def _by_run(runs: Sequence[Run], texts: Sequence[str]) -> list[Paragraph]:
    """Each distinct text once, with the runs that it holds of, unless it holds of all."""
    titles: dict[str, list[str]] = {}
    for run, text in zip(runs, texts, strict=True):
        if text:
            titles.setdefault(text, []).append(run.title)
    return [Paragraph(text, () if len(names) == len(runs) else tuple(names)) for text, names in titles.items()]
