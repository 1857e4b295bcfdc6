from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from activessf.errors import InputError
from activessf.regions.boxes import Found, Region, Rejected
from activessf.regions.filtering import RegionFilter
from activessf.regions.quality.results import found_in, read_results

PURPLE = {"name": "purple", "hue": [100, 160], "saturation": [70, 255], "value": [0, 255]}
FILTER = RegionFilter("none", None, 5, 1.0, 20, 10, [PURPLE], 9, True, 70, 200, 0.5, False, 4, 0.5, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tables = {
        "regions": "image,x,y,width,height,fill_rate,area,crop\nb.png,5,6,90,80,0.75,5400,crops/b_0000.png\n",
        "rejected": "image,x,y,width,height,fill_rate,area,reason\n"
        "b.png,1,2,30,40,0.9,1080,too small\na.png,0,0,9,9,1.0,81,too small\n",
        "slides": "image,width,height,resolution,regions,rejected,specks\n"
        "b.png,500,400,0.25,1,1,2\na.png,500,400,,0,1,0\n",
        "failures": "image,reason\n",
    }
    for name, text in tables.items():
        (tmp_path / f"{name}.csv").write_text(text)
    return tmp_path


def test_tables_are_sorted_and_bounds_are_those_at_the_resolution_of_each_slide(folder: Path) -> None:
    own = {"a.png": replace(FILTER, max_size=None), "b.png": FILTER}
    results = read_results(folder, own.__getitem__)
    assert results.slides["image"].tolist() == results.rejected["image"].tolist() == ["a.png", "b.png"]
    assert results.without_region["image"].tolist() == ["a.png"]
    # b.png is twice as fine as the filter is meant for.
    assert results.slides["least"].tolist() == [70, 140] and results.slides["margin"].tolist() == [4, 8]
    assert np.isnan(results.slides["greatest"][0]) and results.slides["greatest"][1] == 400


def test_the_boxes_of_a_slide_are_its_own(folder: Path) -> None:
    found = found_in(read_results(folder, lambda _: FILTER), "b.png")
    rejected = [Rejected(Region(1, 2, 30, 40, 0.9, 1080), "too small")]
    assert found == Found([Region(5, 6, 90, 80, 0.75, 5400)], rejected, 0)


def test_a_table_that_is_missing_is_named(folder: Path) -> None:
    (folder / "rejected.csv").unlink()
    with pytest.raises(InputError, match=r"rejected\.csv"):
        read_results(folder, lambda _: FILTER)
