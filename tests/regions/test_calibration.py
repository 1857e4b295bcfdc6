"""Calibration on made-up slides of any colour, and on the public smears."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from activessf.configuration import build, region_settings
from activessf.data.bccd import bccd_source
from activessf.data.chula_rbc12 import chula_rbc12_source
from activessf.data.source import Source
from activessf.errors import InputError
from activessf.manifests import BOX
from activessf.regions.calibration import LabeledField, agreement_of, calibrated
from activessf.regions.calibration_stage import Plan, calibrate, labeled_field, parted
from activessf.regions.filtering import RegionFilter

PAPER: RegionFilter = build(region_settings("paper"))
PLAN = Plan("boxes", 6, 0.3, 80, 0)


def made_up(seed: int, colour: tuple[int, int, int] = (70, 140, 80), cells: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Pale ground, round cells of one colour and smaller round things of another; RGB and boxes."""
    rng = np.random.default_rng(seed)
    image = np.full((240, 320, 3), (225, 215, 205), np.uint8)
    boxes = []
    for _ in range(6):
        cv2.circle(image, tuple(map(int, rng.integers(10, 230, 2))), 8, (215, 120, 120), -1, cv2.LINE_AA)
    for index in range(cells):
        radius = int(rng.integers(16, 24))
        x, y = 40 + 80 * (index % 4) + int(rng.integers(-8, 8)), 60 + 120 * (index // 4) + int(rng.integers(-15, 15))
        shade = np.clip(np.array(colour) + rng.integers(-10, 10, 3), 0, 255)
        cv2.circle(image, (x, y), radius, tuple(map(int, shade)), -1, cv2.LINE_AA)
        boxes.append((x - radius, y - radius, 2 * radius + 1, 2 * radius + 1))
    noise = rng.normal(0, 3, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), np.array(boxes, float).reshape(-1, 4)


def fields(seeds: range, points: bool = False, **settings: object) -> list[LabeledField]:
    result = []
    for seed in seeds:
        image, boxes = made_up(seed, **settings)  # type: ignore[arg-type]
        labels = boxes[:, :2] + boxes[:, 2:] / 2 if points else boxes
        result.append(LabeledField(f"{seed}.png", image, labels))
    return result


@pytest.fixture
def root(tmp_path: Path) -> tuple[Path, pd.DataFrame]:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = []
    for field in fields(range(9)):
        Image.fromarray(field.image).save(folder / field.name)
        rows += [{"image": field.name, **dict(zip(BOX, box, strict=True))} for box in field.labels]
    return folder, pd.DataFrame(rows)


@pytest.mark.parametrize("colour", [(70, 140, 80), (200, 170, 60), (60, 90, 170)], ids=["green", "yellow", "blue"])
def test_cells_of_any_colour_are_found_from_a_few_labels(colour: tuple[int, int, int]) -> None:
    unseen = fields(range(100, 112), colour=colour)
    found = calibrated(fields(range(4), colour=colour), PAPER, 80, progress=False)
    after = agreement_of(found, unseen, 80)
    assert after.recall >= 0.95 and after.precision >= 0.95 and after.mean_overlap >= 0.8
    assert agreement_of(PAPER, unseen, 80).recall < 0.5


def test_points_serve_as_well_as_boxes() -> None:
    found = calibrated(fields(range(3), points=True), PAPER, 40, progress=False)
    after = agreement_of(found, fields(range(100, 112)), 40)
    assert after.recall >= 0.9 and after.precision >= 0.9


def test_the_same_labels_give_the_same_settings() -> None:
    first, second = (calibrated(fields(range(3)), PAPER, 80, progress=False) for _ in range(2))
    assert first == second


def test_what_the_user_has_set_and_calibration_does_not_touch_stays() -> None:
    start = replace(PAPER, blur_kernel=5, seed=7, num_colours=15)
    found = calibrated(fields(range(3)), start, 80, progress=False)
    assert (found.blur_kernel, found.seed, found.num_colours, found.merged_colours) == (5, 7, 15, 10)


def test_fields_without_labels_are_refused() -> None:
    blank = LabeledField("a.png", np.full((50, 50, 3), 200, np.uint8), np.empty((0, 4)))
    with pytest.raises(InputError, match="no label to calibrate from"):
        calibrated([blank], PAPER, 80, progress=False)


def test_cells_that_look_like_their_ground_are_refused() -> None:
    plain = LabeledField("a.png", np.full((120, 120, 3), 200, np.uint8), np.array([[30, 30, 20, 20]], float))
    with pytest.raises(InputError, match="their colour is that of what surrounds them"):
        calibrated([plain], PAPER, 80, progress=False)


def test_the_preset_finds_by_name_what_the_figures_say(root: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    folder, cells = root
    output = tmp_path / "out"
    output.mkdir()
    path = calibrate(folder, cells, PAPER, PLAN, "green_cells", tmp_path / "presets", output)
    assert path == tmp_path / "presets/green_cells.yaml"
    region_filter: RegionFilter = build(region_settings("green_cells", tmp_path / "presets"))
    record = json.loads((output / "calibration.json").read_text())
    fit, check = record["fit"], record["check"]
    assert (len(fit), len(check)) == (6, 3) and set(fit) | set(check) == set(cells["image"])
    # Counted here once more, by the boxes' middles alone.
    hits = regions = 0
    for image in check:
        own = cells[cells["image"] == image]
        found = region_filter(np.asarray(Image.open(folder / image)))
        regions += len(found)
        middles = zip(own["x"] + own["width"] / 2, own["y"] + own["height"] / 2, strict=True)
        hits += sum(
            any(abs(x - r.x - r.width / 2) < 5 and abs(y - r.y - r.height / 2) < 5 for r in found) for x, y in middles
        )
    figures = record["figures"]["check"]["after"]
    assert (figures["found"], figures["regions"]) == (hits, regions) and hits >= 11
    assert figures["recall"] == pytest.approx(hits / figures["labels"])
    picture = np.asarray(Image.open(output / "check.png"))
    assert picture.shape == (3 * 240, 2 * 320, 3)
    assert (picture[:, 320:] == (0, 158, 115)).all(axis=2).any(), "found cells are outlined in green"


def test_a_preset_is_never_overwritten_and_needs_a_name(root: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    folder, cells = root
    presets = tmp_path / "presets"
    presets.mkdir()
    (presets / "mine.yaml").write_text("my: work\n")
    with pytest.raises(InputError, match="There is a preset mine already"):
        calibrate(folder, cells, PAPER, PLAN, "mine", presets, tmp_path)
    for name in ("../mine", "a b", "", "1st", "a.yaml"):
        with pytest.raises(InputError, match="can't be the name of a preset"):
            calibrate(folder, cells, PAPER, PLAN, name, presets, tmp_path)
    assert [path.name for path in presets.iterdir()] == ["mine.yaml"]
    assert yaml.safe_load((presets / "mine.yaml").read_text()) == {"my": "work"}


@pytest.mark.parametrize(
    ("images", "num_fields", "check_share", "sizes"),
    [
        (364, 20, 0.3, (20, 344)),
        (20, 20, 0.3, (14, 6)),
        (2, 20, 0.3, (1, 1)),
        (3, 20, 0.01, (2, 1)),
        (9, 1, 0.3, (1, 8)),
    ],
)
def test_fields_are_parted_into_fit_and_check(
    images: int, num_fields: int, check_share: float, sizes: tuple[int, int]
) -> None:
    cells = pd.DataFrame({"image": [f"{n}.png" for n in range(images)], "x": 0, "y": 0, "width": 9, "height": 9})
    fit, check = parted(cells, Plan("boxes", num_fields, check_share, 80, 3))
    assert (len(fit), len(check)) == sizes
    assert sorted(fit + check) == sorted(cells["image"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": "lines"}, "calibration.labels=lines is neither boxes nor points"),
        ({"num_fields": 0}, "calibration.num_fields=0 must be at least 1"),
        ({"check_share": 1.0}, "calibration.check_share=1.0 must lie between 0 and 1"),
    ],
)
def test_a_plan_that_is_none_is_said(change: dict[str, object], words: str) -> None:
    cells = pd.DataFrame({"image": ["a", "b"], "x": 0, "y": 0, "width": 9, "height": 9})
    with pytest.raises(InputError, match=words):
        parted(cells, PLAN._replace(**change))


def test_whole_images_as_cells_can_not_be_used() -> None:
    cells = pd.DataFrame({"image": ["a", "b"], "x": [0, np.nan], "y": [0, np.nan], "width": [9, np.nan], "height": 9})
    with pytest.raises(InputError, match=r"1 image\(s\) have labeled boxes"):
        parted(cells, PLAN)


def from_public_data(source: Source, plan: Plan, checked: int) -> tuple[float, float]:
    fit, check = parted(source.cells, plan)
    region_filter = calibrated(
        [labeled_field(source.root, image, source.cells, plan.labels) for image in fit], PAPER, plan.apart, False
    )
    others = (labeled_field(source.root, image, source.cells, plan.labels) for image in check[:checked])
    found = agreement_of(region_filter, others, plan.apart)
    print(f"\nrecall {found.recall:.3f} of {found.labels}, precision {found.precision:.3f}")
    return found.recall, found.precision


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*stay unlabeled")
def test_twenty_bccd_fields_are_enough_for_white_cells(bccd: Path) -> None:
    source = bccd_source(str(bccd), "JPEGImages", "Annotations", "subtypes.csv", "WBC", None, [], [])
    recall, precision = from_public_data(source, Plan("boxes", 20, 0.3, 80, 0), 400)
    assert recall >= 0.97 and precision >= 0.97


@pytest.mark.data
@pytest.mark.slow
def test_a_few_chula_fields_are_enough_for_red_cells(chula: Path) -> None:
    """With 5 fields, to take less time; experiments/calibration.py takes 20."""
    types = [f"type {number}" for number in range(13)]
    source = chula_rbc12_source(str(chula), "images", "labels", 80, types, [], [])
    recall, _ = from_public_data(source, Plan("points", 5, 0.3, 80, 0), 40)
    assert recall >= 0.9


def test_a_field_that_can_not_be_read_is_left_out(
    root: tuple[Path, pd.DataFrame], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, cells = root
    fit, check = parted(cells, PLAN)
    (folder / check[0]).write_bytes(b"no image")
    calibrate(folder, cells, PAPER, PLAN, "mine", tmp_path / "presets", tmp_path)
    assert json.loads((tmp_path / "calibration.json").read_text())["figures"]["check"]["after"]["fields"] == 2
    assert "1 field(s) can't be read" in caplog.text


def test_sizes_for_a_resolution_are_not_calibrated(root: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="regions.resolution=0.25 can't be calibrated with"):
        calibrate(*root, replace(PAPER, resolution=0.25), PLAN, "mine", tmp_path / "presets", tmp_path)
