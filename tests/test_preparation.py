"""Folds as they are made from the data: what shows the same cell stays together, and all else stays as it was."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from tiny import configure, on

from activessf.data.images import write_png
from activessf.data.near_duplicates import DUPLICATES
from activessf.errors import InputError
from activessf.manifests import read_table
from activessf.preparation import DUPLICATES_FILE, Preparation
from activessf.selecting import Selecting

pytestmark = pytest.mark.filterwarnings("ignore:Class '", "ignore:The least populated class")  # the demo is small


def prepared(output: Path, *overrides: str) -> Preparation:
    return Preparation(configure(output, "ssl=none", *overrides))


def spanning(preparation: Preparation) -> list[int]:
    """Sets of like cells in more than one fold, counted here."""
    found = read_table(preparation.duplicates.obtain() / DUPLICATES_FILE, DUPLICATES)
    fold = preparation.labeled.set_index("crop")["fold"]
    return [number for number, part in found.groupby("set") if fold.loc[part["crop"]].nunique() > 1]


def with_overlapping_slides(demo: Path, folder: Path) -> list[str]:
    """The demo's labeled cells with its first two slides a second time, as slides of other patients."""
    cells = pd.read_csv(demo / "cells.csv", keep_default_na=False)
    (folder / "slides").mkdir(parents=True)
    for slide in (demo / "slides").iterdir():
        (folder / "slides" / slide.name).symlink_to(slide)
    again = []
    for number, name in enumerate(cells["image"].drop_duplicates().head(2)):
        Image.open(demo / name).convert("RGB").save(folder / "slides" / f"again_{number}.jpg", quality=85)
        part = cells[cells["image"] == name]
        again.append(part.assign(image=f"slides/again_{number}.jpg", group=f"patient z{number}"))
    pd.concat([cells, *again]).to_csv(folder / "cells.csv", index=False)
    return [str(group) for group in cells["group"].drop_duplicates().head(2)]


def test_fields_that_overlap_are_in_one_fold_and_pretraining_sees_neither(demo, tmp_path, caplog, recwarn):
    first, second = with_overlapping_slides(demo, tmp_path / "data")
    with caplog.at_level(logging.INFO, logger="activessf.preparation"):
        found = prepared(tmp_path / "out", *on(tmp_path / "data"))
        table = found.labeled
    (told,) = (record.message for record in caplog.records if "show the same" in record.message)
    assert told.startswith("4 groups show the same as another one") and "kept together in folds as 2 (" in told
    assert f"{first!r} with 'patient z0'" in told
    assert spanning(found) == [] and found.spanning.empty
    found.warn_of_duplicates()
    assert not any("show the same" in str(warning.message) for warning in recwarn)
    own = table.groupby("group")["joined_group"].agg(lambda names: set(names).pop())
    assert own["patient z0"] == first and own["patient z1"] == second
    assert (own.drop(["patient z0", "patient z1"]) == own.drop(["patient z0", "patient z1"]).index).all()
    (fold,) = table.loc[table["joined_group"] == first, "fold"].unique()
    pool = set(Selecting(prepared(tmp_path / "out", *on(tmp_path / "data"), f"fold={fold}")).pool())
    there = set(table.loc[table["group"].isin([first, "patient z0"]), "image"])
    assert len(there) == 2 and not there & pool and pool


def test_left_apart_they_are_torn_by_some_seed_and_the_key_is_another(demo, tmp_path):
    with_overlapping_slides(demo, tmp_path / "data")
    apart = [
        prepared(tmp_path / "out", *on(tmp_path / "data"), "data.join_duplicates=false", f"seed={seed}")
        for seed in range(2)
    ]
    together = [prepared(tmp_path / "out", *on(tmp_path / "data"), f"seed={seed}") for seed in range(2)]
    assert any(map(spanning, apart)) and not any(map(spanning, together))
    assert len({one.folds.name for one in (*apart, *together)}) == 4
    assert [one.duplicates.name for one in apart] == [one.duplicates.name for one in together]
    assert (apart[0].labeled["joined_group"] == apart[0].labeled["group"]).all()


def test_folds_that_are_given_are_not_touched(demo, tmp_path):
    with_overlapping_slides(demo, tmp_path / "data")
    cells = pd.read_csv(tmp_path / "data" / "cells.csv", keep_default_na=False)
    groups = sorted(set(cells["group"]))
    cells["split"] = [groups.index(group) % 5 for group in cells["group"]]
    cells.to_csv(tmp_path / "data" / "cells.csv", index=False)
    overrides = on(tmp_path / "data")
    found, other = (prepared(tmp_path, *overrides, f"data.join_duplicates={joins}") for joins in ("true", "false"))
    given = cells.drop_duplicates("group").set_index("group")["split"]
    assert (found.labeled["fold"] == found.labeled["group"].map(given)).all()
    assert found.folds.name == other.folds.name and not found.joins_duplicates


def test_without_duplicates_the_folds_are_those_of_the_groups_alone(demo, tmp_path):
    found = prepared(tmp_path, *on(demo))
    table = found.labeled
    assert read_table(found.duplicates.folder / DUPLICATES_FILE, DUPLICATES).empty
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    expected = np.zeros(len(table), int)
    for fold, (_, test) in enumerate(splitter.split(table, table["label"], table["group"])):
        expected[test] = fold
    assert table["fold"].tolist() == expected.tolist() and (table["joined_group"] == table["group"]).all()


def folder_of_cells(folder: Path, images: list[np.ndarray]) -> None:
    for number, image in enumerate(images):
        (folder / "cells" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        write_png(image, folder / "cells" / "ab"[number % 2] / f"{number:02d}.png")
    (folder / "slides").mkdir()
    write_png(images[0], folder / "slides" / "a.png")


def test_copies_among_cells_without_groups_are_kept_together(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40, 40, 3), dtype=np.uint8) for _ in range(40)]
    folder_of_cells(tmp_path / "unlike", images)
    alone = prepared(tmp_path / "out", "data=folder", f"data.root={tmp_path / 'unlike'}").labeled
    expected = np.zeros(len(alone), int)
    splitter = StratifiedKFold(5, shuffle=True, random_state=0)
    for fold, (_, test) in enumerate(splitter.split(alone, alone["label"])):
        expected[test] = fold
    assert alone["fold"].tolist() == expected.tolist() and (alone["joined_group"] == "").all()
    images[31], images[7] = images[4], np.ascontiguousarray(images[20][::-1])
    folder_of_cells(tmp_path / "like", images)
    table = prepared(tmp_path / "out", "data=folder", f"data.root={tmp_path / 'like'}").labeled
    by_name = table.set_index(table["image"].str.extract(r"(\d+)\.png")[0].astype(int))
    assert by_name["fold"][31] == by_name["fold"][4] and by_name["fold"][7] == by_name["fold"][20]
    assert by_name["joined_group"].nunique() == 38 and (table["group"] == "").all()


def test_a_chain_through_most_cells_is_refused_before_anything_is_made(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40, 40, 3), dtype=np.uint8) for _ in range(40)]
    images[:20] = [np.full((40, 40, 3), 240, np.uint8)] * 20
    folder_of_cells(tmp_path / "data", images)
    overrides = ["data=folder", f"data.root={tmp_path / 'data'}"]
    with pytest.raises(InputError, match=r"20 cells that show the same .* one group of 50\.0 % of all cells"):
        prepared(tmp_path / "out", *overrides).folds.obtain()
    assert not list((tmp_path / "out" / "stages").glob("folds/*"))
    assert prepared(tmp_path / "out", *overrides, "data.join_duplicates=false").labeled["fold"].nunique() == 5
    assert len(prepared(tmp_path / "out", *overrides, "data.largest_joined_group=0.5").labeled) == 40


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("data.join_duplicates=1", "data.join_duplicates=1 must be true or false"),
        ("data.largest_joined_group=0", "data.largest_joined_group=0 must lie above 0"),
        ("data.largest_joined_group=33", "data.largest_joined_group=33 must lie above 0 and up to 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(override, match, demo, tmp_path):
    with pytest.raises(InputError, match=match):
        prepared(tmp_path, *on(demo), override)


@pytest.mark.data
@pytest.mark.filterwarnings("ignore:.* cells stay unlabeled")
def test_no_cell_of_bccd_is_in_two_folds_though_fields_overlap(bccd, tmp_path):
    overrides = ["data=bccd", f"data.root={bccd}"]
    found, apart = prepared(tmp_path, *overrides), prepared(tmp_path, *overrides, "data.join_duplicates=false")
    sets = read_table(found.duplicates.obtain() / DUPLICATES_FILE, DUPLICATES)
    assert sets["set"].nunique() == 3  # experiments/results/duplicates.md
    assert len(spanning(apart)) > 0 and spanning(found) == []
    joined = found.labeled.groupby("joined_group")["group"].nunique()
    assert sorted(joined[joined > 1]) == [2, 2, 2] and found.labeled["fold"].nunique() == 5
