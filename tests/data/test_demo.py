from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, label_binarize

from activessf.data.demo import (
    DEMO_CLASSES,
    Stain,
    deal,
    draw_slide,
    draw_stain,
    photograph,
    stratified_labels,
    write_demo,
)
from activessf.data.demo_cells import DYES, OTHER_CELLS, SUBTYPES, draw_cell, lobe_centres
from activessf.errors import InputError
from activessf.manifests import BOX

SMALL: dict[str, Any] = {"num_labeled_slides": 4, "num_unlabeled_slides": 2, "progress": False, "seed": 3}


@pytest.fixture(scope="module")
def default_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All the labeled slides of the default demo and three of the others."""
    root = tmp_path_factory.mktemp("demo")
    write_demo(root, num_unlabeled_slides=3, progress=False)
    return root


def read(path: Path) -> NDArray[np.uint8]:
    picture = cv2.imread(str(path))
    assert picture is not None
    return np.asarray(picture[..., ::-1], dtype=np.uint8)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_demo(tmp_path / name, **SMALL)
    write_demo(tmp_path / "c", **{**SMALL, "seed": 4})
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert files(tmp_path / "a")["slides/labeled_0000.jpg"] != files(tmp_path / "c")["slides/labeled_0000.jpg"]


def test_a_slide_does_not_depend_on_how_many_others_there_are(tmp_path: Path) -> None:
    write_demo(tmp_path / "few", **SMALL)
    write_demo(tmp_path / "more", **{**SMALL, "num_labeled_slides": 6, "num_unlabeled_slides": 3})
    few, more = files(tmp_path / "few"), files(tmp_path / "more")
    pictures = {name for name in few if name.endswith(".jpg")}
    assert len(pictures) == 6
    assert all(few[name] == more[name] for name in pictures)
    tables = [pd.read_csv(tmp_path / name / "cells.csv") for name in ("few", "more")]
    pd.testing.assert_frame_equal(tables[0], tables[1][: len(tables[0])])


def test_slides_are_rgb_files_of_the_size_asked_for(tmp_path: Path) -> None:
    write_demo(tmp_path, **SMALL, height=300, width=420)
    names = sorted(path.name for path in (tmp_path / "slides").iterdir())
    assert names == [f"labeled_{index:04d}.jpg" for index in range(4)] + ["unlabeled_0000.jpg", "unlabeled_0001.jpg"]
    assert {read(tmp_path / "slides" / name).shape for name in names} == {(300, 420, 3)}


def test_tables_have_the_columns_of_the_manifest_and_boxes_lie_in_the_slides(default_demo: Path) -> None:
    cells, truth = pd.read_csv(default_demo / "cells.csv"), pd.read_csv(default_demo / "truth.csv")
    assert list(cells.columns) == ["image", "label", *BOX, "group"]
    assert list(truth.columns) == ["image", *BOX, "label", "group"]
    for table in (cells, truth):
        assert (table[["x", "y"]] >= 0).all(axis=None)
        assert (table["x"] + table["width"] <= 640).all()
        assert (table["y"] + table["height"] <= 480).all()
        assert all((default_demo / image).is_file() for image in table["image"].unique())


def test_truth_holds_the_labeled_cells_and_besides_them_other_cells_and_unlabeled_slides(default_demo: Path) -> None:
    cells, truth = pd.read_csv(default_demo / "cells.csv"), pd.read_csv(default_demo / "truth.csv")
    known = truth[truth["image"].str.startswith("slides/labeled") & (truth["label"] != "other")]
    pd.testing.assert_frame_equal(known[cells.columns].reset_index(drop=True), cells)
    assert set(cells["label"]) == set(DEMO_CLASSES)
    assert (truth["label"] == "other").sum() > 0.4 * len(cells)
    assert truth["image"].str.startswith("slides/unlabeled").any()


def test_no_cell_of_the_default_demo_is_left_out_for_want_of_room(default_demo: Path) -> None:
    truth = pd.read_csv(default_demo / "truth.csv")
    slides = truth[truth["image"].str.startswith("slides/labeled")]
    # `deal` gives number x mean cells, give or take one.
    assert abs((slides["label"] != "other").sum() - 60 * 6) <= 1
    assert abs((slides["label"] == "other").sum() - 60 * 4) <= 1


def test_purple_cells_do_not_overlap(default_demo: Path) -> None:
    truth = pd.read_csv(default_demo / "truth.csv")
    for _, slide in truth.groupby("image"):
        centres = (slide[["x", "y"]].to_numpy() + slide[["width", "height"]].to_numpy() / 2).astype(float)
        # Half of the smaller side is the radius of a disc that every cell fills but for its dents.
        radii = slide[["width", "height"]].min(axis=1).to_numpy() / 2
        for first in range(len(slide)):
            for second in range(first):
                distance = np.hypot(*(centres[first] - centres[second]))
                assert distance > 0.9 * (radii[first] + radii[second])


def test_boxes_are_tight_round_the_cell_that_can_be_seen(default_demo: Path) -> None:
    # Purple takes much more green than blue away, pink takes both alike.
    cells = pd.read_csv(default_demo / "cells.csv")
    for row in cells[::6].itertuples():
        picture = cv2.GaussianBlur(read(default_demo / row.image), (0, 0), 1).astype(float)
        purple = picture[..., 2] - picture[..., 1] > 32
        _, regions = cv2.connectedComponents(purple.astype(np.uint8))
        inside = regions[row.y : row.y + row.height, row.x : row.x + row.width]
        cell = regions == np.bincount(inside[inside > 0]).argmax()
        ys, xs = np.flatnonzero(cell.any(axis=1)), np.flatnonzero(cell.any(axis=0))
        found = np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1])
        np.testing.assert_allclose(found, [row.x, row.y, row.x + row.width, row.y + row.height], atol=3)


def test_classes_are_long_tailed_and_each_is_there_often_enough_for_five_folds(default_demo: Path) -> None:
    cells = pd.read_csv(default_demo / "cells.csv")
    counts = cells["label"].value_counts()
    assert set(counts.index) == set(DEMO_CLASSES)
    assert counts.index[0] == "G-MK"
    assert set(counts.index[-2:]) == {"CA-MK", "HL-MK"}
    assert counts.min() >= 7
    assert 0.27 < counts["G-MK"] / len(cells) < 0.33
    assert (counts[["CA-MK", "HL-MK"]] / len(cells) < 0.03).all()
    assert cells.groupby("label")["group"].nunique().min() >= 5


def test_several_slides_share_a_patient_and_unlabeled_slides_have_patients_of_their_own(default_demo: Path) -> None:
    truth = pd.read_csv(default_demo / "truth.csv")
    assert (truth.groupby("image")["group"].nunique() == 1).all()
    assert (truth.groupby("group")["image"].nunique() == 3).all()
    labeled = truth["image"].str.startswith("slides/labeled")
    assert not set(truth.loc[labeled, "group"]) & set(truth.loc[~labeled, "group"])


def test_mean_colour_does_not_tell_the_subtypes(default_demo: Path) -> None:
    cells = pd.read_csv(default_demo / "cells.csv")
    pictures = {image: read(default_demo / image) for image in cells["image"].unique()}
    colours = [
        pictures[row.image][row.y : row.y + row.height, row.x : row.x + row.width].mean(axis=(0, 1))
        for row in cells.itertuples()
    ]
    scores = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression(C=100, class_weight="balanced", max_iter=3000)),
        np.array(colours),
        cells["label"].to_numpy(),
        groups=cells["group"],
        cv=StratifiedGroupKFold(5, shuffle=True, random_state=0),
        method="predict_proba",
    )
    classes = sorted(DEMO_CLASSES)
    predicted = [classes[index] for index in scores.argmax(axis=1)]
    assert balanced_accuracy_score(cells["label"], predicted) < 0.45
    truth = label_binarize(cells["label"], classes=classes)
    assert average_precision_score(truth, scores, average="macro") < 0.5


def test_frequencies_sum_to_one() -> None:
    assert sum(kind.frequency for kind in SUBTYPES.values()) == pytest.approx(1)
    assert sum(kind.frequency for kind in OTHER_CELLS.values()) == pytest.approx(1)


def test_labels_start_with_one_of_each_and_every_beginning_keeps_to_the_frequencies() -> None:
    labels = stratified_labels(np.random.default_rng(0), SUBTYPES)
    drawn = [next(labels) for _ in range(1000)]
    assert set(drawn[:11]) == set(DEMO_CLASSES)
    for length in (100, 300, 1000):
        for name, kind in SUBTYPES.items():
            assert abs(drawn[:length].count(name) - length * kind.frequency) < 2


@given(mean=st.floats(0, 12), number=st.integers(0, 40), seed=st.integers(0, 1000))
def test_dealing_hands_out_the_mean_to_within_two(mean: float, number: int, seed: int) -> None:
    hands = deal(np.random.default_rng(seed), iter(map(str, range(10**6))), mean, number)
    assert len(hands) == number
    assert all(abs(len(hand) - mean) <= 3 for hand in hands)
    assert abs(sum(map(len, hands)) - number * mean) <= 1.5
    assert [card for hand in hands for card in hand] == [str(index) for index in range(sum(map(len, hands)))]


@pytest.mark.parametrize("name", [*SUBTYPES, *OTHER_CELLS])
def test_a_drawn_cell_has_the_size_of_its_kind_and_ends_with_its_patch(name: str) -> None:
    kind = {**SUBTYPES, **OTHER_CELLS}[name]
    for seed in range(5):
        cell = draw_cell(np.random.default_rng(seed), kind)
        assert cell.dyes.shape == (*cell.cover.shape, 3)
        assert cell.cover.min() >= 0 and cell.cover.max() == 1 and (cell.dyes >= 0).all()
        assert not cell.dyes[cell.cover == 0].any()
        across = np.sqrt(4 / np.pi * (cell.cover >= 0.5).sum())
        # A naked nucleus has dents between its lobes, buds add to a cell.
        assert 0.8 * kind.diameter[0] <= across <= 1.15 * kind.diameter[1]


@given(lobes=st.integers(2, 13), seed=st.integers(0, 1000))
@settings(max_examples=50)
def test_lobes_lie_in_their_span_and_stay_apart_where_they_are_separate_nuclei(lobes: int, seed: int) -> None:
    centres = np.array(lobe_centres(np.random.default_rng(seed), 30, lobes, 0.65))
    assert len(centres) == lobes
    assert (np.hypot(centres[:, 0], centres[:, 1]) + centres[:, 2] <= 30 * 1.15).all()
    if lobes <= 5:
        gaps = [np.hypot(*(a[:2] - b[:2])) - a[2] - b[2] for i, a in enumerate(centres) for b in centres[:i]]
        assert min(gaps) > 0


def test_light_through_dye_follows_beer_and_lambert() -> None:
    stain = Stain(np.array(list(DYES.values()), dtype=np.float32), np.array([240, 230, 235], dtype=np.float32))
    dyes = np.zeros((200, 200, 3), dtype=np.float32)
    dyes[:, 100:, 1] = 0.8
    picture = photograph(np.random.default_rng(0), dyes, stain).astype(float)
    # The lamp's slope cancels where both sides meet; the lens blurs a few pixels there.
    ratio = picture[:, 104:110].mean(axis=(0, 1)) / picture[:, 90:96].mean(axis=(0, 1))
    np.testing.assert_allclose(ratio, np.exp(-0.8 * np.array(DYES["purple"])), rtol=0.02)


def test_a_slide_without_purple_cells_has_only_pale_and_pink() -> None:
    rng = np.random.default_rng(0)
    picture, cells = draw_slide(rng, [], [], height=240, width=320, stain=draw_stain(rng))
    assert cells == []
    hue, saturation, _ = np.moveaxis(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV), -1, 0)
    # Only platelets, a few pixels each.
    assert ((hue >= 30) & (hue <= 140) & (saturation >= 100)).mean() < 0.01


def test_cells_for_which_there_is_no_room_are_left_out() -> None:
    rng = np.random.default_rng(0)
    _, cells = draw_slide(rng, ["HL-MK"] * 6, [], height=210, width=210, stain=draw_stain(rng))
    assert len(cells) == 1


@pytest.mark.parametrize(
    "wrong",
    [{"num_labeled_slides": 0}, {"height": 100}, {"cells_per_slide": 0}, {"slides_per_patient": 0}, {"seed": -1}],
)
def test_numbers_out_of_range_are_refused_by_name(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        write_demo(tmp_path, **{**SMALL, **wrong})
