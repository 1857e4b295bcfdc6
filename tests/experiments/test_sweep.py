"""The W&B sweep: what an agent would run is what train.py takes."""

import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from tiny import configure
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from activessf.checking import check_settings
from activessf.evaluation.metrics import fold_metrics

SWEEP = Path(__file__).resolve().parents[2] / "experiments" / "sweep.yaml"


def command_lines(sweep: dict[str, Any]) -> list[list[str]]:
    """The overrides of every run of a grid, put together by W&B's own code."""
    names, choices = zip(*((name, chosen["values"]) for name, chosen in sweep["parameters"].items()), strict=True)
    fixed = sweep["command"]
    assert fixed[:3] == ["${env}", "${interpreter}", "${program}"] and fixed[-1] == "${args_no_hyphens}"
    lines = []
    for values in itertools.product(*choices):
        arguments = {name: {"value": value} for name, value in zip(names, values, strict=True)}
        lines.append([*fixed[3:-1], *create_sweep_command_args({"args": arguments})["args_no_hyphens"]])
    return lines


def test_every_command_line_of_the_sweep_composes_to_what_it_says(tmp_path: Path) -> None:
    sweep = yaml.safe_load(SWEEP.read_text())
    assert sweep["method"] == "grid" and (SWEEP.parents[1] / sweep["program"]).is_file()
    lines = command_lines(sweep)
    assert len(lines) == 5 * 3 * 3 * 5 == len({tuple(line) for line in lines})
    for line in lines[::97]:
        config = configure(tmp_path, *line)
        check_settings(config)
        said = dict(part.split("=") for part in line)
        assert config.selection.name == "activessf" and config.selection.bounds == "quantile"
        assert config.fold.index == int(said["fold"]) and config.selection.alpha == float(said["selection.alpha"])
        assert config.selection.lower_quantile == float(said["selection.lower_quantile"])
        assert config.selection.upper_quantile == float(said["selection.upper_quantile"])


def test_the_metric_of_the_sweep_is_one_that_runs_log() -> None:
    cells = pd.DataFrame({"label": ["a", "b"], "predicted": ["a", "a"], "p_a": [0.8, 0.6], "p_b": [0.2, 0.4]})
    metric = yaml.safe_load(SWEEP.read_text())["metric"]
    assert metric["name"] in {f"test/{name}" for name in fold_metrics(cells)} and metric["goal"] == "maximize"
