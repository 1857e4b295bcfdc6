import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from activessf.errors import InputError
from activessf.regions.filtering import RegionFilter
from activessf.regions.stain import stained

PAPER = Path(__file__).resolve().parents[2] / "conf/regions/paper.yaml"
ARGUMENTS = {key: value for key, value in yaml.safe_load(PAPER.read_text()).items() if not key.startswith("_")}
PAPER_FILTER = RegionFilter(**ARGUMENTS)


def field(*discs: tuple[int, int, int], colour: tuple[int, int, int] = (90, 40, 160)) -> np.ndarray:
    """A pale noisy smear with discs of (x, y, radius)."""
    image = np.full((240, 320, 3), (225, 205, 210), dtype=np.uint8)
    for x, y, radius in discs:
        cv2.circle(image, (x, y), radius, colour, -1)
    noise = np.random.default_rng(0).normal(0, 4, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def test_the_preset_holds_the_papers_numbers() -> None:
    assert (PAPER_FILTER.blur_kernel, PAPER_FILTER.blur_sigma) == (3, 1.5)
    assert (PAPER_FILTER.num_colours, PAPER_FILTER.merged_colours) == (20, 10)
    assert (PAPER_FILTER.min_size, PAPER_FILTER.max_size, PAPER_FILTER.min_fill_rate) == (70, None, 0.7)
    assert (PAPER_FILTER.closing, PAPER_FILTER.fill_holes, PAPER_FILTER.normalisation) == (0, False, "minmax")
    assert [list(map(stain.get, ("hue", "saturation", "value"))) for stain in PAPER_FILTER.stain_ranges] == [
        [[30, 140], [100, 255], [0, 255]],
        [[95, 105], [150, 255], [50, 255]],
    ]


def test_purple_discs_are_found_and_small_or_red_ones_are_not() -> None:
    regions = PAPER_FILTER(field((80, 80, 40), (230, 150, 50), (30, 200, 20)))
    assert len(regions) == 2
    for region, (x, y, radius) in zip(regions, [(80, 80, 40), (230, 150, 50)], strict=True):
        # The blurred rim is paler than the range: up to two pixels a side are lost.
        np.testing.assert_allclose(region[:4], (x - radius, y - radius, 2 * radius + 1, 2 * radius + 1), atol=4)
        assert region.fill_rate == pytest.approx(np.pi / 4, abs=0.04)
    red = field((80, 80, 40), (200, 120, 45))
    red[110:] = field((200, 120, 45), colour=(200, 60, 60))[110:]
    assert all(region.y < 110 for region in PAPER_FILTER(red))


def test_steps_are_those_of_the_paper_in_order() -> None:
    image = field((80, 80, 40))
    steps = PAPER_FILTER.steps(image)
    assert steps.normalised.min() == 0 and steps.normalised.max() == 255
    # A 3x3 kernel of sigma 1.5, padded by reflection without the edge pixel, against the plain sum (Eq. 1).
    weights = np.exp(-np.array([1, 0, 1]) / (2 * 1.5**2))
    kernel = np.outer(weights, weights) / weights.sum() ** 2
    padded = np.pad(steps.normalised.astype(float), ((1, 1), (1, 1), (0, 0)), mode="reflect")
    sums = sum(kernel[i, j] * padded[i : i + 240, j : j + 320] for i in range(3) for j in range(3))
    assert np.abs(sums - steps.smoothed).max() <= 1
    assert len(np.unique(steps.quantised.reshape(-1, 3), axis=0)) <= 10
    np.testing.assert_array_equal(steps.mask, stained(steps.quantised, PAPER_FILTER.stain_ranges))
    assert steps.found.regions == PAPER_FILTER(image)


def test_a_margin_widens_the_boxes_and_keeps_their_fill_rate() -> None:
    image = field((80, 80, 40), (280, 150, 50))
    plain, wide = PAPER_FILTER(image), replace(PAPER_FILTER, margin=9)(image)
    assert [(region.x - 9, region.y - 9, region.fill_rate, region.area) for region in plain] == [
        (region.x, region.y, region.fill_rate, region.area) for region in wide
    ]
    assert wide[0].width == plain[0].width + 18 and wide[1].x + wide[1].width == 320


def test_sizes_follow_the_resolution_of_the_image() -> None:
    own = replace(PAPER_FILTER, min_size=40, max_size=101, closing=9, margin=4, resolution=0.5)
    finer, coarser = own.at(0.25), own.at(1.0)
    assert (finer.min_size, finer.max_size, finer.closing, finer.margin) == (80, 202, 17, 8)
    assert (coarser.min_size, coarser.max_size, coarser.closing, coarser.margin) == (20, 50, 5, 2)
    assert own.at(None) is own and own.at(0.5) is own and PAPER_FILTER.at(0.1) is PAPER_FILTER
    image = field((80, 80, 45))
    assert len(own(image)) == 1 and finer(image)[0].width >= 80 and replace(own, min_size=60).at(0.25)(image) == []


def test_filling_holes_finds_a_ring() -> None:
    ring = field((100, 100, 50))
    pale = field()
    inside = np.hypot(*np.mgrid[-100:140, -100:220]) < 38
    ring[inside] = pale[inside]
    assert PAPER_FILTER(ring) == []
    (region,) = replace(PAPER_FILTER, fill_holes=True)(ring)
    assert region.fill_rate == pytest.approx(np.pi / 4, abs=0.04)


@pytest.mark.parametrize("method", ["minmax", "gray_world", "none", "reinhard"])
def test_every_normalisation_runs_on_ordinary_flat_and_tiny_images(method: Any) -> None:
    reference = {"mean": [80.0, 5.0, -5.0], "std": [10.0, 8.0, 8.0]} if method == "reinhard" else None
    region_filter = replace(PAPER_FILTER, normalisation=method, reference=reference)
    assert len(region_filter(field((80, 80, 40)))) == 1
    for shape in [(1, 1), (1, 90), (2, 3), (100, 100)]:
        assert region_filter(np.full((*shape, 3), 200, np.uint8)) == []


def test_the_filter_survives_pickling_and_repeats_itself() -> None:
    image = field((80, 80, 40), (230, 150, 50))
    assert pickle.loads(pickle.dumps(PAPER_FILTER))(image) == PAPER_FILTER(image)


def test_the_input_is_left_alone() -> None:
    image = field((80, 80, 40))
    before = image.copy()
    replace(PAPER_FILTER, normalisation="none", blur_kernel=1, fill_holes=True, closing=5)(image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("normalisation", "macenko"),
        ("normalisation", "reinhard"),
        ("blur_kernel", 4),
        ("blur_kernel", 0),
        ("blur_sigma", 0),
        ("num_colours", 0),
        ("num_colours", 257),
        ("num_colours", "many"),
        ("merged_colours", 21),
        ("merged_colours", 0),
        ("stain_ranges", []),
        ("closing", 4),
        ("closing", -3),
        ("fill_holes", "yes"),
        ("min_size", 0),
        ("min_size", 70.5),
        ("max_size", 69),
        ("min_fill_rate", 0),
        ("min_fill_rate", 1.01),
        ("split_touching", 1),
        ("margin", -1),
        ("margin", 1.5),
        ("resolution", 0),
        ("resolution", "fine"),
        ("seed", -1),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=name):
        RegionFilter(**{**ARGUMENTS, name: value})
