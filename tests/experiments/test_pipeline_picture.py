import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from activessf.data.images import write_png
from activessf.errors import InputError
from activessf.manifests import REGIONS, write_json, write_table
from activessf.training.watching.reconstructions import grid

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "pipeline_picture.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pipeline_picture", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def refusal(script: ModuleType, output_dir: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    picture = output_dir / "picture.png"
    assert script.main(["--output-dir", str(output_dir), "--picture", str(picture), *options]) == 2
    assert not picture.exists() and not picture.with_suffix(".pdf").exists()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def write_run(output_dir: Path, selection: str, data: str = "demo") -> None:
    choices = {"data": data, "ssl_method": "mae", "selection": selection}
    details = {"choices": choices, "pretraining": f"{data}-mae-gone", "started": "2025-01-01T00:00:00+00:00"}
    write_json(details, output_dir / "runs" / f"{data}-run" / "fold_0" / "run.json")


def test_an_empty_output_folder_is_refused_with_the_command_that_fills_it(script, tmp_path, capsys):
    message = refusal(script, tmp_path, capsys)
    assert message.startswith(f"error: {tmp_path} does not hold a run of data=demo ssl=mae selection=activessf")
    assert "run `make demo`" in message
    assert list(tmp_path.iterdir()) == []


def test_runs_of_other_selections_data_and_methods_do_not_count(script, tmp_path, capsys):
    write_run(tmp_path, "crf")
    assert "does not hold a run" in refusal(script, tmp_path, capsys)
    write_run(tmp_path, "activessf")
    assert "does not hold a run of data=bccd" in refusal(script, tmp_path, capsys, "--data", "bccd")
    assert "does not hold a run" in refusal(script, tmp_path, capsys, "--method", "mixmim")


def test_a_stage_result_that_is_gone_is_named(script, tmp_path, capsys):
    write_run(tmp_path, "activessf", "bccd")
    assert "does not hold the pretraining bccd-mae-gone" in refusal(script, tmp_path, capsys, "--data", "bccd")


def test_the_slides_are_those_that_the_regions_were_cut_from(script, tmp_path):
    rng = np.random.default_rng(0)
    slides = {name: rng.integers(0, 256, (30, 40, 3), np.uint8) for name in ("theirs", "others")}
    for name, pixels in slides.items():
        (tmp_path / name).mkdir()
        write_png(pixels, tmp_path / name / "slide.png")
    regions = tmp_path / "regions"
    (regions / "crops").mkdir(parents=True)
    write_png(slides["theirs"][5:15, 10:22], regions / "crops" / "0.png")
    row = ["slide.png", 10, 5, 12, 10, 0.8, 96, "crops/0.png"]
    write_table(pd.DataFrame([row], columns=list(REGIONS)), regions / "regions.csv")
    roots = [tmp_path / "gone", tmp_path / "others", tmp_path / "theirs"]
    assert script._slides(roots, regions) == tmp_path / "theirs"
    with pytest.raises(InputError, match="name their folder with --data-root"):
        script._slides(roots[:2], regions)


def test_the_pictures_of_a_grid_of_reconstructions_are_cut_out_as_they_are(script):
    rng = np.random.default_rng(0)
    for side, factor in ((48, 2), (224, 1)):
        columns = [rng.integers(0, 256, (5, side, side, 3), np.uint8) for _ in range(3)]
        rows = script.reconstructed(grid(columns, [f"{row}.png" for row in range(5)], 200))
        assert len(rows) == 5 and all(len(row) == 3 for row in rows)
        for row, pictures in enumerate(rows):
            for column, picture in enumerate(pictures):
                assert np.array_equal(picture[::factor, ::factor], columns[column][row])


def test_the_window_holds_the_most_boxes(script):
    left, side = script.window([(0, 40), (180, 40), (215, 40)], np.zeros((100, 300, 3), np.uint8))
    assert side == 100
    assert left <= 180 and left + side >= 255


def test_a_slide_with_kept_and_dropped_regions_comes_before_one_with_more(script):
    images = ["all"] * 5 + ["both"] * 2 + ["none"] * 3
    table = pd.DataFrame({"image": images, "selected": [1] * 5 + [1, 0] + [0] * 3})
    assert script.telling_slides(table) == ["both", "all", "none"]


def test_the_smallest_prototype_with_dropped_candidates_is_shown(script):
    table = pd.DataFrame(
        {
            "prototype": [0, 1, 2, 3, 4],
            "size": [50, 30, 20, 10, 2],
            "candidates": [90, 80, 10, 9, 5],
            "selected": [0, 40, 5, 4, 3],
        }
    )
    assert script.telling_prototype(table)["prototype"] == 3
    assert script.telling_prototype(table.head(2))["prototype"] == 1
    assert script.telling_prototype(table.head(1)) is None
