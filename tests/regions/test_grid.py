import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activessf.regions.grid import ColourGrid, planes_of


def image(seed: int, low: int, high: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high + 1, (13, 17, 3), dtype=np.uint8)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), ends=st.tuples(st.integers(0, 255), st.integers(0, 255)))
def test_counts_and_look_ups_equal_a_loop_over_the_pixels(seed: int, ends: tuple[int, int]) -> None:
    pixels = image(seed, min(ends), max(ends))
    grid = ColourGrid.of(planes_of(pixels))
    table = np.random.default_rng(seed).integers(0, 256, grid.sizes).astype(np.float32)
    counts, looked_up = np.zeros(grid.sizes), np.zeros(pixels.shape[:2])
    for place in np.ndindex(*pixels.shape[:2]):
        levels = tuple((int(v) - low) // width for v, low, width in zip(pixels[place], *grid[:2], strict=True))
        counts[levels] += 1
        looked_up[place] = table[levels]
    np.testing.assert_array_equal(grid.counts(planes_of(pixels)), counts)
    np.testing.assert_array_equal(grid.looked_up(planes_of(pixels), table), looked_up)


@settings(max_examples=40, deadline=None)
@given(lows=st.tuples(*[st.integers(0, 255)] * 3), spans=st.tuples(*[st.integers(0, 255)] * 3))
def test_a_grid_covers_the_values_with_few_bins(lows: tuple[int, ...], spans: tuple[int, ...]) -> None:
    highs = [min(low + span, 255) for low, span in zip(lows, spans, strict=True)]
    grid = ColourGrid.covering(lows, highs)
    assert np.prod(grid.sizes) <= 2**19
    for low, high, first, width, size in zip(lows, highs, *grid, strict=True):
        assert first <= low and first + width * (size - 1) <= high < first + width * size and first % 2 == 0


def test_a_bin_has_the_middle_or_the_mean_of_its_levels() -> None:
    pixels = np.array([[[10, 0, 0], [11, 0, 1], [11, 0, 1], [40, 255, 9]]], np.uint8)
    grid = ColourGrid.of(planes_of(pixels))
    assert grid.lows == (10, 0, 0) and grid.widths == (2, 2, 2)
    bins = np.flatnonzero(grid.counts(planes_of(pixels)))
    np.testing.assert_array_equal(grid.colours(bins, None).T, [[10.5, 0.5, 0.5], [40.5, 254.5, 8.5]])
    marginals = np.stack([np.bincount(pixels[..., channel].ravel(), minlength=256) for channel in range(3)])
    np.testing.assert_allclose(grid.colours(bins, marginals).T, [[32 / 3, 0, 2 / 3], [40, 255, 9]])


@pytest.mark.parametrize(("low", "high"), [(0, 255), (31, 140), (90, 93)])
def test_counts_of_pairs_give_the_counts_of_any_grid(low: int, high: int) -> None:
    planes = planes_of(image(5, low, high))
    pairs = ColourGrid((0, 0, 0), (2, 2, 2), (128, 128, 128))
    grid = ColourGrid.of(planes)
    np.testing.assert_array_equal(pairs.recounted(pairs.counts(planes).astype(np.int64), grid), grid.counts(planes))
