"""What run.json tells."""

import json

import pandas as pd
import torch
from tiny import configure, on, vit_mini

from activessf import commands
from activessf.selection.run_networks import FinetunedNetwork


def test_a_run_records_the_stage_results_that_it_rests_on(run, outputs, demo):
    record = json.loads((run / "run.json").read_text())
    assert set(record["stages"]) == {"cells", "folds", "duplicates", "regions", "selection", "pretraining"}
    for stage, name in record["stages"].items():
        inputs = json.loads((outputs / "stages" / stage / name / "inputs.json").read_text())
        assert stage != "selection" or (inputs["fold"], inputs["regions"]) == (0, record["stages"]["regions"])
    assert record["stages"]["pretraining"] == record["pretraining"] and record["device"].startswith("CPU with ")
    assert record["folds_given"] is bool((pd.read_csv(demo / "cells.csv").get("split", pd.Series()).notna()).any())
    supervised = commands.train(configure(outputs, *on(demo), "ssl=none", "fold=0"))
    assert set(json.loads((supervised / "run.json").read_text())["stages"]) == {"cells", "folds", "duplicates"}


def test_a_run_from_published_weights_ends_and_its_record_tells_it_from_others(tmp_path, demo):
    file = tmp_path / "published.pth"
    torch.save(vit_mini(5, image_size=64).state_dict(), file)
    own = commands.train(configure(tmp_path, *on(demo), "ssl=none", "fold=0", f"backbone.checkpoint={file}"))
    scratch = commands.train(configure(tmp_path, *on(demo), "ssl=none", "fold=0"))
    settings = [json.loads((folder / "run.json").read_text())["settings"] for folder in (own, scratch)]
    assert settings[0]["backbone.checkpoint"] and settings[1]["backbone.checkpoint"] is None
    features = FinetunedNetwork(run=str(own.parent), fold=0).load().network
    assert features(torch.zeros(1, 3, 48, 48)).shape == (1, 128)
