import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from activessf.manifests import write_json
from activessf.regions.boxes import Region

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "pipeline_picture.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pipeline_picture", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def refusal(script: ModuleType, output_dir: Path, capsys: pytest.CaptureFixture[str]) -> str:
    picture = output_dir / "picture.png"
    assert script.main(["--output-dir", str(output_dir), "--picture", str(picture)]) == 2
    assert not picture.exists()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def write_run(output_dir: Path, selection: str) -> None:
    choices = {"data": "demo", "ssl_method": "mae", "selection": selection}
    details = {"choices": choices, "pretraining": "demo-mae-gone", "started": "2025-01-01T00:00:00+00:00"}
    write_json(details, output_dir / "runs" / "demo-run" / "fold_0" / "run.json")


def test_an_empty_output_folder_is_refused_with_the_command_that_fills_it(script, tmp_path, capsys):
    message = refusal(script, tmp_path, capsys)
    assert message.startswith(f"error: {tmp_path} does not hold a run of data=demo ssl_method=mae selection=activessf")
    assert "run `make demo`" in message
    assert list(tmp_path.iterdir()) == []


def test_runs_of_other_selections_do_not_count(script, tmp_path, capsys):
    write_run(tmp_path, "crf")
    assert "does not hold a run" in refusal(script, tmp_path, capsys)


def test_a_stage_result_that_is_gone_is_named(script, tmp_path, capsys):
    write_run(tmp_path, "activessf")
    assert "does not hold the pretraining demo-mae-gone" in refusal(script, tmp_path, capsys)


def test_as_many_patches_are_hidden_as_mae_hides(script):
    pixels = np.zeros((48, 48, 3), np.uint8)
    masked = script._masked(pixels, 8, 0.75, np.random.default_rng(0))
    patches = masked.reshape(6, 8, 6, 8, 3).transpose(0, 2, 1, 3, 4).reshape(36, -1)
    assert all(len(set(patch)) == 1 for patch in patches)
    assert (patches[:, 0] > 0).sum() == 36 - 9
    assert not pixels.any()


def test_the_window_holds_the_most_boxes(script):
    slide = np.zeros((100, 300, 3), np.uint8)
    regions = [Region(x, 0, 40, 40, 1.0, 1600) for x in (0, 180, 215)]
    left, side = script._window(regions, slide)
    assert side == 100
    assert left <= 180 and left + side >= 255


def test_the_largest_and_the_smallest_prototype_with_dropped_candidates_are_shown(script):
    table = pd.DataFrame(
        {
            "prototype": [0, 1, 2, 3, 4],
            "size": [50, 30, 20, 10, 2],
            "candidates": [90, 80, 10, 9, 5],
            "selected": [0, 40, 5, 4, 3],
        }
    )
    assert [row["prototype"] for row in script._telling_prototypes(table)] == [1, 3]
    assert [row["prototype"] for row in script._telling_prototypes(table.head(2))] == [1]
    assert script._telling_prototypes(table.head(1)) == []
