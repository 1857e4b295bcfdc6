from pathlib import Path

import pytest
import yaml

from activessf.configuration import region_settings
from activessf.errors import InputError
from activessf.regions.filtering import RegionFilter
from activessf.regions.overrides import read_overrides


def preset(name: str) -> RegionFilter:
    return RegionFilter(**{key: value for key, value in region_settings(name).items() if not key.startswith("_")})


SLIDES = ["a/1.png", "a/2.png", "b/[1].png", "b/2.png"]


def overrides(tmp_path: Path, text: str) -> dict[str, RegionFilter]:
    path = tmp_path / "overrides.csv"
    path.write_text(text)
    return read_overrides(path, SLIDES, preset("paper"), preset)


def test_a_row_changes_the_settings_of_the_slides_that_it_names(tmp_path: Path) -> None:
    filters = overrides(
        tmp_path, "image,min_size,fill_holes,regions\na/*,50,true,\nb/[1].png,,,white_cells\na/2.png,60,,\n"
    )
    assert set(filters) == {"a/1.png", "a/2.png", "b/[1].png"}
    assert (filters["a/1.png"].min_size, filters["a/1.png"].fill_holes, filters["a/1.png"].closing) == (50, True, 0)
    assert (filters["a/2.png"].min_size, filters["a/2.png"].fill_holes) == (60, True)
    assert filters["b/[1].png"] == preset("white_cells")


def test_a_list_of_stain_ranges_can_be_given(tmp_path: Path) -> None:
    ranges = "[{name: green, hue: [40, 80], saturation: [50, 255], value: [0, 255]}]"
    (region_filter,) = set(map(id, overrides(tmp_path, f'image,stain_ranges\nb/2.png,"{ranges}"\n').values()))
    assert region_filter
    assert overrides(tmp_path, f'image,stain_ranges\nb/2.png,"{ranges}"\n')["b/2.png"].stain_ranges == yaml.safe_load(
        ranges
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,min_sise\na/1.png,3\n", "column 'min_sise', which is no setting"),
        ("image,stain_ranges\na/1.png,5\n", "stain_ranges is 5"),
        ("image,min_size\na/1.png,2001-02-30\n", "row of 'a/1.png': a value can't be read"),
        ("image,regions\na/1.png,none_such\n", "row of 'a/1.png': There is no preset 'none_such'"),
        ("image,min_size\nc/1.png,3\n", "names 'c/1.png', which is no slide"),
        ("image,min_size\na/1.png,big\n", "row of 'a/1.png': The region filter's min_size is 'big'"),
        ("image,max_size\na/1.png,9\n", "max_size is 9"),
        ("image,regions\na/1.png,blue_cells\n", "no preset 'blue_cells'"),
        ("image,stain_ranges\na/1.png,[\n", "a value can't be read"),
        ("slide,min_size\na/1.png,9\n", "lacks the column image"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        overrides(tmp_path, text)


def test_spaces_after_commas_and_columns_in_another_order_do_no_harm(tmp_path: Path) -> None:
    filters = overrides(tmp_path, "regions, image, min_size\nwhite_cells, a/1.png, 44\n")
    assert (filters["a/1.png"].min_size, filters["a/1.png"].closing) == (44, 9)
