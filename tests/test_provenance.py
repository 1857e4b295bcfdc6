"""A run folder holds what it takes to run it again."""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict
from tiny import configure, on

from activessf import commands
from activessf.configuration import CONF
from activessf.provenance import frozen_requirements, rerunnable


@pytest.fixture(scope="module")
def run(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("outputs")
    return commands.train(configure(output, *on(demo), "selection=crf", "fold=1", "seed=7"))


@pytest.mark.slow
def test_a_run_folder_is_run_again_by_the_line_that_its_configuration_begins_with(run, tmp_path):
    line = (run / "config.yaml").read_text().splitlines()[0]
    assert line.startswith("# Again: python train.py --config-path ")
    again = [sys.executable, str(CONF.parent / "train.py"), "--config-path", str(run), f"paths.output_dir={tmp_path}"]
    environment = {**os.environ, "PYTHONPATH": str(CONF.parent)}
    done = subprocess.run(again, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    other = tmp_path / "runs" / run.parent.name / "fold_1"
    assert (other / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()
    (job,) = (tmp_path / "jobs").iterdir()
    assert json.loads((job / "status.json").read_text())["state"] == "finished"


def test_the_options_chosen_stand_in_the_configuration_for_tables_to_name_the_run_by(demo, tmp_path):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("config", ["data=bccd", "recipe=quick"], return_hydra_config=True)
        HydraConfig.instance().set_config(composed)
        try:
            with open_dict(composed):
                composed.pop("hydra")
            text = rerunnable(composed)
        finally:
            HydraConfig.instance().cfg = None
    (tmp_path / "config.yaml").write_text(text)
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        again = compose("config", return_hydra_config=True)
    assert again.hydra.runtime.choices["data"] == "bccd" and again.hydra.runtime.choices["recipe"] == "quick"
    assert again.recipe.name == "quick" and again.hydra.callbacks.sweep._target_.endswith("SweepStart")


def test_the_packages_that_are_installed_stand_in_the_run_folder(run):
    lines = (run / "requirements-frozen.txt").read_text().splitlines()
    assert lines == frozen_requirements().splitlines() == sorted(lines, key=str.lower)
    named = dict(line.split("==") for line in lines)
    for name in ("torch", "pandas", "hydra-core"):
        assert named[name] == importlib.metadata.version(name)


def test_a_run_tells_where_the_time_of_its_trainings_went(run):
    record = json.loads((run / "run.json").read_text())
    for stage in ("pretraining", "finetuning"):
        timing = record["timing"][stage]
        assert timing["steps"] == 2 and timing["computing"] > 0 and "thread(s)" in timing["device"]
    assert len(pd.read_csv(run / "history" / "metrics.csv"))
