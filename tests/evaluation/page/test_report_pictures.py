"""Crops in the page: found by the run's record, small, and never from elsewhere."""

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from activessf.errors import InputError
from activessf.evaluation.page.cells import pooled_predictions
from activessf.evaluation.page.opened import Limits
from activessf.evaluation.page.pictures import MOST_BYTES, SIDE, crop_files, picture
from activessf.evaluation.report import main, write_report
from activessf.evaluation.runs import collect_runs

Write = Callable[..., Any]
SMALL = {"a": 12, "b": 9, "c": 4}


def data_of(page: Path) -> Any:
    found = re.search(
        r'<script type="application/json" id="cells">(.*?)</script>', page.read_text(encoding="utf-8"), re.S
    )
    assert found is not None
    return json.loads(found[1])


def written(tmp_path: Path, **limits: int) -> Path:
    write_report(tmp_path / "runs", tmp_path / "report", limits=Limits(**limits))
    (page,) = (tmp_path / "report").glob("*/index.html")
    return page


@pytest.mark.parametrize("size", [(3, 5), (80, 80), (500, 60), (60, 2000), (900, 900), (1, 400)])
def test_a_picture_is_small_and_keeps_its_shape(size: tuple[int, int], tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    data = picture(tmp_path / "noise.png")
    height, width = size
    scale = min(1.0, SIDE / max(size))
    with Image.open(io.BytesIO(data)) as small:
        assert small.format == "JPEG" and len(data) <= MOST_BYTES
        assert abs(small.width - width * scale) <= 1 and abs(small.height - height * scale) <= 1


def test_a_broken_picture_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(InputError):
        picture(tmp_path / "broken.png")


@pytest.mark.usefixtures("undrawn")
def test_each_picture_is_in_the_page_once_and_the_page_no_larger_than_stated(
    write_run: Write, write_crops: Write, tmp_path: Path
) -> None:
    for name, selection in (("mae-0", "none"), ("mae-1", "activessf")):
        write_run(name, "mae", selection, folds=range(3), counts=SMALL, num_folds=3, rare=[], common=[], skill=0.5)
    write_crops(tmp_path / "runs" / "mae-0", noise=300)
    without = len(written(tmp_path, pictures=0).read_bytes())
    page = written(tmp_path, pictures=1500)
    data = data_of(page)
    assert len(data["pictures"]) == len(set(data["pictures"])) == 25 == len(data["cells"])
    assert without + 25 * 1000 < len(page.read_bytes()) <= without + 25 * (MOST_BYTES * 4 / 3 + 8)
    assert sum(page.read_text().count(picture) for picture in data["pictures"]) == 25
    limited = data_of(written(tmp_path, pictures=7))
    assert len(limited["pictures"]) == 7 and sorted(cell[5] for cell in limited["cells"])[-8:] == [-1, *range(7)]
    assert "7 of the 25 cells that can be opened have a picture" in page.read_text()


@pytest.mark.usefixtures("undrawn")
def test_with_a_limit_the_surest_mistakes_keep_their_pictures(
    write_run: Write, write_crops: Write, tmp_path: Path
) -> None:
    write_run("mae-0", folds=range(3), counts=SMALL, num_folds=3, rare=[], common=[], skill=0.5)
    write_crops(tmp_path / "runs" / "mae-0")
    data = data_of(written(tmp_path, pictures=3))
    first = {rows[0][0] for rows in data["runs"][0]["mistakes"] if rows}
    assert len(first) == 3 and {place for place, cell in enumerate(data["cells"]) if cell[5] >= 0} == first


@pytest.mark.usefixtures("undrawn")
def test_without_crops_on_this_disk_the_page_says_so(write_run: Write, tmp_path: Path) -> None:
    write_run("mae-0", folds=[0], counts=SMALL, num_folds=3, rare=[], common=[])
    page = written(tmp_path)
    assert "are not on this disk, so cells are named but not shown" in page.read_text()
    data = data_of(page)
    assert data["pictures"] == [] and {cell[5] for cell in data["cells"]} == {-1}


@pytest.mark.usefixtures("undrawn")
def test_some_missing_crops_are_counted(write_run: Write, write_crops: Write, tmp_path: Path) -> None:
    write_run("mae-0", folds=range(3), counts=SMALL, num_folds=3, rare=[], common=[])
    write_crops(tmp_path / "runs" / "mae-0", drop=4)
    text = written(tmp_path).read_text()
    assert "21 of the 25 cells that can be opened have a picture" in text
    assert "The crops of 4 cells are not on this disk." in text


@pytest.mark.parametrize("name", ["../cells/demo-0123456789abcdef", "..", "/", "*", "", None, 7, ["x"]])
@pytest.mark.usefixtures("undrawn")
def test_a_run_can_not_name_a_folder_elsewhere(name: Any, write_run: Write, write_crops: Write, tmp_path: Path) -> None:
    run = write_run("mae-0", folds=[0], counts=SMALL, num_folds=3, rare=[], common=[])
    write_crops(run)
    record = run / "fold_0" / "run.json"
    details = json.loads(record.read_text())
    record.write_text(json.dumps(details | {"stages": {"cells": name}}))
    runs, _ = collect_runs(tmp_path / "runs")
    cells, _ = pooled_predictions(runs, list(SMALL))
    assert set(crop_files(runs, cells)) == {None}


@pytest.mark.usefixtures("undrawn")
def test_a_table_of_cells_can_not_name_a_file_elsewhere(write_run: Write, write_crops: Write, tmp_path: Path) -> None:
    run = write_run("mae-0", folds=[0], counts=SMALL, num_folds=3, rare=[], common=[])
    write_crops(run)
    (table,) = (tmp_path / "stages/cells").glob("*/cells.csv")
    frame = pd.read_csv(table)
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    frame["crop"] = ["../../../secret.png", str(tmp_path / "secret.png"), *frame["crop"][2:]]
    frame.to_csv(table, index=False)
    runs, _ = collect_runs(tmp_path / "runs")
    cells, _ = pooled_predictions(runs, list(SMALL))
    files = crop_files(runs, cells)
    assert files[:2] == [None, None] and None not in files[2:]


@pytest.mark.usefixtures("undrawn")
def test_pictures_and_names_are_the_same_for_runs_from_before_stages_were_recorded(
    write_run: Write, write_crops: Write, tmp_path: Path
) -> None:
    run = write_run("mae-0", folds=[0], counts=SMALL, num_folds=3, settings={"data.cells": "demo-0123456789abcdef"})
    write_crops(run)
    record = run / "fold_0" / "run.json"
    details = json.loads(record.read_text())
    del details["stages"]
    record.write_text(json.dumps(details))
    data = data_of(written(tmp_path))
    assert len(data["pictures"]) == len(data["cells"])
    assert base64.b64decode(data["pictures"][0]).startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize("option", ["--crops", "--mistakes", "--pictures"])
def test_a_limit_that_is_no_number_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([option, "-3"])
    assert stop.value.code == 2 and option in capsys.readouterr().err
