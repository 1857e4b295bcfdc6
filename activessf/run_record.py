"""What run.json tells of a run: its settings, the results that it rests on, its times and its surroundings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activessf.classification import Classification
from activessf.configuration import flat, is_supervised
from activessf.data.joined_groups import joined_members
from activessf.manifests import read_json
from activessf.pretraining import Pretraining
from activessf.provenance import device, provenance
from activessf.training.pretraining import SUMMARY_FILE
from activessf.training.timing import TIMING_FILE

# Keys know of no file where there is none; tables must, to tell such runs from others.
_FROM_SCRATCH = {"backbone.checkpoint": None, "ssl_method.init": None}


@dataclass(frozen=True)
class RunRecord:
    """What is known of one run before it begins, to be written when it has ended.

    Attributes:
        name: Of the run, which its folds share.
        title: The run in a table's words.
        inputs: What it depends on, without the fold.
        pretraining: Its stage 3, whether or not it has one.
        classification: Its stage 4.
    """

    name: str
    title: str
    inputs: dict[str, Any]
    pretraining: Pretraining
    classification: Classification

    def ended(
        self,
        pretrained: Path | None,
        folder: Path,
        started: str,
        seconds: dict[str, float],
        classification: dict[str, Any],
    ) -> dict[str, Any]:
        """The content of run.json.

        Args:
            pretrained: The folder of the pretraining; None = there was none.
            folder: What the run has written so far.
            started: When, ISO 8601.
            seconds: What its parts took, by name.
            classification: What stage 4 tells of itself.
        """
        config, prepared = self.pretraining.config, self.pretraining.prepared
        summary = {} if pretrained is None else read_json(pretrained / SUMMARY_FILE)
        surroundings = provenance()
        surroundings["choices"]["backbone"] = config.backbone.name  # which the choice may leave to the method
        if pretrained is None:
            surroundings["choices"]["selection"] = "none"  # it had no part, whatever was chosen
        selects = pretrained is not None and self.pretraining.selecting.strategy is not None
        return {
            "run": self.name,
            "fold": prepared.fold,
            "title": self.title,
            "settings": {**_FROM_SCRATCH, **self.classification.idle, **flat(self.inputs["settings"])},
            "seed": prepared.seed,
            "scope": config.selection.scope if selects else None,
            "classes": list(prepared.source.classes),
            "rare": list(prepared.source.rare),
            "common": list(prepared.source.common),
            "stage_versions": self.inputs["versions"],
            "pretraining": None if pretrained is None else pretrained.name,
            "stages": self._stages(),
            "folds_given": prepared.folds_given,
            "joined_groups": joined_members(prepared.labeled),
            "pretraining_images": summary.get("images"),
            "pretraining_steps": summary.get("steps"),
            "classification": classification,
            "started": started,
            "seconds": {**seconds, "pretraining": summary.get("seconds")},
            "device": device(config.trainer.accelerator),
            "timing": {"pretraining": _timing(pretrained), "finetuning": _timing(folder)},
            **surroundings,
        }

    def _stages(self) -> dict[str, str]:
        """The results below `stages` that the run rests on, by stage: reports find crops and pages by them."""
        selecting, prepared = self.pretraining.selecting, self.pretraining.prepared
        results = {"cells": prepared.cells, "folds": prepared.folds, "duplicates": prepared.duplicates}
        if not is_supervised(self.pretraining.config):
            results["pretraining"] = self.pretraining.artifact
            if selecting.strategy is not None:
                results |= {"regions": prepared.regions, "selection": selecting.selection}
        return {stage: result.name for stage, result in results.items()}


def _timing(folder: Path | None) -> dict[str, Any] | None:
    """Where the time of a training went; None where there was none, or an earlier version that did not tell."""
    there = folder is not None and (folder / TIMING_FILE).is_file()
    return read_json(folder / TIMING_FILE) if folder is not None and there else None
