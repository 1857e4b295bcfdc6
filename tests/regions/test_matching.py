"""Matches against pairs found by hand and by trying all."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activessf.regions.boxes import Region
from activessf.regions.matching import agreement, isolated, match_boxes, match_points, overlap

BOXES = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 15), st.integers(1, 15)), min_size=0, max_size=5
)


def regions(*boxes: tuple[int, int, int, int]) -> list[Region]:
    return [Region(*box, 1.0, box[2] * box[3]) for box in boxes]


def pixels(box: tuple[int, int, int, int]) -> set[tuple[int, int]]:
    x, y, width, height = box
    return {(column, row) for column in range(x, x + width) for row in range(y, y + height)}


@given(BOXES, BOXES)
def test_overlaps_are_those_of_sets_of_pixels(
    first: list[tuple[int, int, int, int]], second: list[tuple[int, int, int, int]]
) -> None:
    found = overlap(np.array(first, float).reshape(-1, 4), np.array(second, float).reshape(-1, 4))
    expected = [[len(pixels(a) & pixels(b)) / len(pixels(a) | pixels(b)) for b in second] for a in first]
    np.testing.assert_allclose(found, np.array(expected).reshape(len(first), len(second)), atol=1e-12)


@given(BOXES, BOXES)
def test_pairs_have_the_greatest_total_overlap(
    first: list[tuple[int, int, int, int]], second: list[tuple[int, int, int, int]]
) -> None:
    labels = np.array(first, float).reshape(-1, 4)
    match = match_boxes(labels, regions(*second))
    values = overlap(labels, np.array(second, float).reshape(-1, 4))
    values = np.where(values >= 0.5, values, 0)
    square = np.zeros((max(values.shape),) * 2)
    square[: len(first), : len(second)] = values
    best = max(
        sum(square[row, column] for row, column in enumerate(order)) for order in permutations(range(len(square)))
    )
    assert match.overlaps.sum() == pytest.approx(best)
    assert match.found.sum() == match.right.sum() == len(match.overlaps)


def test_a_region_is_right_for_one_label_only() -> None:
    labels = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 5, 5]], float)
    match = match_boxes(labels, regions((0, 0, 10, 10), (30, 30, 4, 4)))
    assert match.found.tolist() == [True, False, False]
    assert match.right.tolist() == [True, False]
    assert match.counted.all()


def test_points_are_found_alone_in_a_region_and_counted_where_isolated() -> None:
    points = np.array([[10, 10], [40, 40], [44, 40], [90, 50], [3, 90]], float)
    found = regions((5, 5, 10, 10), (35, 35, 15, 10), (60, 60, 5, 5), (0, 85, 10, 10))
    match = match_points(points, found, apart=8, size=(100, 100))
    assert match.found.tolist() == [True, False, False, False, True]
    assert match.right.tolist() == [True, False, False, True]  # two points; none
    assert match.counted.tolist() == [True, False, False, True, False]  # neighbours 4 px apart; 3 px from the border


def test_the_border_and_single_points() -> None:
    assert isolated(np.array([[50.0, 50.0]]), 80, (100, 100)).tolist() == [True]
    assert isolated(np.array([[40.0, 50.0]]), 80, (100, 100)).tolist() == [False]
    assert isolated(np.empty((0, 2)), 80, (100, 100)).shape == (0,)


def test_agreement_adds_up_fields() -> None:
    labels = np.array([[0, 0, 10, 10]], float)
    good, none = (
        match_boxes(labels, regions((0, 0, 10, 8))),
        match_boxes(labels, regions((50, 50, 9, 9), (70, 70, 9, 9))),
    )
    total = agreement([good, none])
    assert (total.fields, total.labels, total.found, total.regions, total.right) == (2, 2, 1, 3, 1)
    assert (total.recall, total.precision, total.false_per_field) == (0.5, 1 / 3, 1.0)
    assert total.f1 == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    assert total.mean_overlap == pytest.approx(0.8)
    empty = agreement([])
    assert (empty.recall, empty.precision, empty.f1, empty.false_per_field) == (0, 0, 0, 0)
    assert np.isnan(empty.mean_overlap)
