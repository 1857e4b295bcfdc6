from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activessf.data.chula_rbc12 import chula_rbc12_source
from activessf.selection.audit.truth import NO_CELL, SEVERAL, UNKNOWN, true_labels

BOX = ["x", "y", "width", "height"]


def table(*rows: tuple[object, ...]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["image", *BOX, "label"][: len(rows[0])])


def test_a_region_shows_the_cell_whose_centre_it_holds_and_whose_box_holds_its_own() -> None:
    cells = table(("s", 0, 0, 10, 10, "a"), ("s", 100, 0, 10, 10, "b"))
    regions = table(
        ("s", 1, 1, 7, 9),
        ("s", 6, 0, 10, 10),  # holds no centre
        ("s", 100, 0, 60, 60),  # far larger than the one cell it holds
        ("s", 3, 3, 4, 4),
        ("other", 0, 0, 10, 10),
    )
    assert true_labels(regions, cells).tolist() == ["a", NO_CELL, NO_CELL, "a", UNKNOWN]


def test_a_square_round_a_point_twice_as_wide_as_the_cell_serves_as_well() -> None:
    cells = table(("s", 0, 0, 80, 80, "a"))
    assert true_labels(table(("s", 22, 18, 40, 40)), cells).tolist() == ["a"]


def test_a_clump_shows_all_its_cells() -> None:
    cells = table(("s", 0, 0, 10, 10, "a"), ("s", 12, 0, 10, 10, "a"), ("s", 24, 0, 10, 10, "b"))
    regions = table(("s", 0, 0, 22, 10), ("s", 0, 0, 34, 10))
    assert true_labels(regions, cells).tolist() == ["a", SEVERAL]


boxes = st.tuples(
    st.sampled_from(["s", "t"]), st.integers(0, 30), st.integers(0, 30), st.integers(1, 20), st.integers(1, 20)
)


def naive(region: tuple, cells: list[tuple]) -> str:
    there = [cell for cell in cells if cell[0] == region[0]]
    if not there:
        return UNKNOWN

    def holds(box: tuple, other: tuple) -> bool:
        x, y = other[1] + other[3] / 2, other[2] + other[4] / 2
        return box[1] <= x < box[1] + box[3] and box[2] <= y < box[2] + box[4]

    held = [cell for cell in there if holds(region, cell)]
    if len(held) == 1:
        return held[0][5] if holds(held[0], region) else NO_CELL
    labels = {cell[5] for cell in held}
    return NO_CELL if not labels else labels.pop() if len(labels) == 1 else SEVERAL


@settings(max_examples=60, deadline=None)
@given(st.lists(boxes, min_size=1, max_size=12), st.lists(st.tuples(boxes, st.sampled_from("abc")), max_size=12))
def test_labels_are_those_of_the_rule_in_words(regions: list, cells: list) -> None:
    cells = [(*box, label) for box, label in cells]
    labeled = pd.DataFrame(cells, columns=["image", *BOX, "label"])
    assert true_labels(table(*regions), labeled).tolist() == [naive(region, cells) for region in regions]


@pytest.mark.data
def test_tight_regions_round_chula_points_have_the_labels_of_the_points(chula: Path) -> None:
    names = [str(number) for number in range(13)]
    cells = chula_rbc12_source(str(chula), "images", "labels", 80, names, (), ()).cells
    cells = cells[cells["image"].isin(sorted(set(cells["image"]))[:40])].reset_index(drop=True)
    # Boxes at the border are moved inwards, so their middle is not the point.
    inner = cells[(cells[["x", "y"]] > 0).all(axis=1) & (cells["x"] < 560) & (cells["y"] < 400)]
    found = true_labels(inner.assign(x=inner["x"] + 30, y=inner["y"] + 30, width=20, height=20), cells)
    assert len(inner) > 500 and (found == inner["label"]).mean() > 0.99
