from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from pictures import assert_is_drawn

from activessf.evaluation.figures.class_distribution import class_distribution, distribution_panel, samples_panel

RNG = np.random.default_rng(0)


def crops(*sizes: tuple[int, int]) -> list[np.ndarray]:
    return [RNG.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


def test_bars_are_the_counts_with_their_shares() -> None:
    axes = Figure().subplots()
    distribution_panel(axes, [60, 25, 15], ["common", "other", "rare"])
    assert [bar.get_width() for bar in axes.patches] == [60, 25, 15]
    assert [text.get_text() for text in axes.texts] == ["60 (60.0%)", "25 (25.0%)", "15 (15.0%)"]
    assert len({bar.get_facecolor() for bar in axes.patches}) == 3
    assert axes.get_ylim() == (2.5, -0.5)  # the first on top


@pytest.mark.parametrize(("counts", "kind"), [([5000, 40], "log"), ([5000, 60], "linear"), ([300, 0], "log")])
def test_the_axis_says_whether_it_is_logarithmic(counts: list[int], kind: str) -> None:
    axes = Figure().subplots()
    distribution_panel(axes, counts, ["common", "rare"])
    assert axes.get_xscale() == kind
    assert axes.get_xlabel().startswith(f"labeled cells, {kind}")
    assert axes.get_xlim()[1] > counts[0]


def test_crops_are_drawn_as_they_are_and_rare_ones_framed() -> None:
    axes = Figure().subplots()
    own = crops((20, 20), (30, 60))
    samples_panel(axes, [own, crops((16, 16))], ["rare", "common"], 2)
    shown = [np.asarray(image.get_array()) for image in axes.images]
    assert np.array_equal(shown[0], own[0]) and np.array_equal(shown[1], own[1])
    left, right, bottom, top = axes.images[1].get_extent()
    assert (right - left) / (bottom - top) == pytest.approx(2)  # as wide as the crop, in squares of side 1
    assert left >= 1 and right <= 2 and top >= -0.5 and bottom <= 0.5
    assert len(axes.patches) == 2
    assert axes.get_xlim() == (0, 2) and axes.get_ylim() == (1.5, -0.5)


def test_with_and_without_samples_a_figure_is_written(tmp_path: Path) -> None:
    counts = {"a": 100, "$b$": 30, "a name that is far too long to stand beside any bar at all": 3}
    class_distribution(counts, {}, {"$b$"}, {"a"}, tmp_path / "bare.png")
    samples = {"a": crops((20, 20), (20, 30)), "$b$": crops((90, 40))}
    class_distribution(counts, samples, {"$b$"}, {"a"}, tmp_path / "samples.png")
    for name in ("bare", "samples"):
        assert_is_drawn(tmp_path / f"{name}.png")
