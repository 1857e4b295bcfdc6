"""The audit of a selection, from the pipeline's own results on a small demo whose truth is known."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from tiny import configure, on

from activessf import auditing, commands
from activessf.auditing import Auditing, planted_sentence
from activessf.errors import InputError
from activessf.preparation import Preparation
from activessf.selecting import Selecting

BOX = ["x", "y", "width", "height"]


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audited")


def audited(output: Path, demo: Path, *overrides: str, with_page: bool = False) -> tuple[Selecting, Path]:
    selecting = Selecting(Preparation(configure(output, *on(demo), "data.truth=truth.csv", "fold=0", *overrides)))
    return selecting, Auditing(selecting, with_page).audit.obtain()


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, na_values={"recall": [""], "purity": [""]})


def holds(outer: pd.Series, inner: pd.Series) -> bool:
    x, y = inner["x"] + inner["width"] / 2, inner["y"] + inner["height"] / 2
    return outer["x"] <= x < outer["x"] + outer["width"] and outer["y"] <= y < outer["y"] + outer["height"]


def shown(region: pd.Series, cells: pd.DataFrame) -> set[str]:
    """What a region shows, cell by cell: the rule in words, as a loop."""
    own = [cell for _, cell in cells[cells["image"] == region["image"]].iterrows()]
    held = [cell for cell in own if holds(region, cell)]
    if len(held) > 1 or any(holds(cell, region) for cell in held):
        return {cell["label"] for cell in held}
    return set()


def test_recall_by_true_class_equals_a_count_over_all_regions_and_cells(results: Path, demo: Path) -> None:
    selecting, folder = audited(results, demo, "selection=activessf")
    prepared = selecting.prepared
    selection = table(selecting.selection.folder / "selection.csv")
    regions = table(prepared.regions.folder / "regions.csv").set_index("crop", drop=False)
    truth = table(demo / "truth.csv")
    rows = [
        (labels.pop(), selected)
        for crop, selected in zip(selection["crop"], selection["selected"], strict=True)
        if len(labels := shown(regions.loc[crop], truth)) == 1
    ]
    counted = pd.DataFrame(rows, columns=["class", "kept"]).groupby("class")["kept"].agg(["size", "sum"])
    found = table(folder / "truth.csv").set_index("class")
    assert len(counted) > 5
    for name, row in counted.iterrows():
        assert (found.loc[name, "candidates"], found.loc[name, "kept"]) == (row["size"], row["sum"]), name


def test_planted_regions_are_those_that_show_a_test_cell_and_are_kept_by_their_distance(
    results: Path, demo: Path
) -> None:
    selecting, folder = audited(results, demo, "selection=activessf")
    prepared = selecting.prepared
    cells = prepared.labeled
    test = cells[cells["fold"] == 0]
    regions = table(prepared.regions.folder / "regions.csv")
    there = regions[regions["image"].isin(set(test["image"]))]
    labels = {crop: shown(row, test) for crop, row in there.set_index("crop", drop=False).iterrows()}
    expected = {crop: next(iter(names)) for crop, names in labels.items() if len(names) == 1}
    found = table(folder / "planted.csv").set_index("class")
    assert found["planted"].sum() == len(expected) > 10
    # Kept is what lies within the threshold of its nearest prototype, with prototypes worked out anew.
    training = cells[cells["fold"] != 0].reset_index(drop=True)
    with selecting.selection_features(training["crop"], regions["crop"], results) as features:
        decided = selecting.strategy.select(
            features.labeled, training["label"].to_numpy(str), list(prepared.source.classes),
            np.zeros((1, features.labeled.shape[1]), np.float32), prepared.seed,
        )  # fmt: skip
        own = features.candidates[regions["crop"].isin(expected).to_numpy()]
    away = cdist(own, decided.centres)
    within = away.min(axis=1) <= decided.prototypes["threshold"].to_numpy()[away.argmin(axis=1)]
    assert found["kept"].sum() == within.sum()
    facts = json.loads((folder / "summary.json").read_text())
    assert facts["planted"] == "regions" and facts["fold"] == 0 and facts["selection"] == "activessf"
    start = f"Of {len(expected)} regions that show cells of the test fold (it has {len(test)}) put among the candidates"
    assert planted_sentence(folder).startswith(start)


def test_test_cells_may_be_planted_as_they_are_labeled(results: Path, demo: Path) -> None:
    selecting, folder = audited(results, demo, "selection=crf", "audit.planted=boxes")
    prepared = selecting.prepared
    found = table(folder / "planted.csv")
    expected = prepared.labeled.query("fold == 0")["label"].value_counts()
    assert found.set_index("class")["planted"].to_dict() == {
        name: int(expected.get(name, 0)) for name in prepared.source.classes
    }
    assert (found.loc[found["planted"] > 0, "recall"] == 1).all()  # crf keeps everything
    facts = json.loads((folder / "summary.json").read_text())
    assert facts["planted"] == "boxes" and facts["among"]["features"] is None


@pytest.mark.parametrize("overrides", [["selection.scope=all"], ["audit.planted=null"]])
def test_there_is_no_planted_check_where_prototypes_have_seen_the_cells_or_none_is_wanted(
    results: Path, demo: Path, overrides: list[str]
) -> None:
    _, folder = audited(results, demo, *overrides)
    assert not (folder / "planted.csv").exists() and planted_sentence(folder) == ""
    facts = json.loads((folder / "summary.json").read_text())
    assert facts["planted"] is None and facts["fold"] == (None if "scope" in overrides[0] else 0)


def test_the_page_is_made_once_and_selections_share_a_map(
    results: Path, demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = audited(results, demo, "audit.map_points=40", with_page=True)
    assert (folder / "index.html").is_file() and (folder / "map.png").is_file() and (folder / "prototypes").is_dir()
    monkeypatch.setattr(auditing, "project", None)  # would fail if called
    _, other = audited(results, demo, "audit.map_points=40", "selection=nearest", with_page=True)
    assert other != folder and (other / "map.png").is_file()
    monkeypatch.setattr(auditing, "read_decided", None)
    assert audited(results, demo, "audit.map_points=40", with_page=True)[1] == folder


def test_select_ends_with_an_audit_and_its_page(results: Path, demo: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        commands.select(configure(results, *on(demo), "fold=0", "audit.map_points=40", "selection.alpha=1"))
    assert "put among the candidates" in caplog.text
    (page,) = [line.removeprefix("To look at: ") for line in caplog.messages if line.startswith("To look at")]
    assert Path(page).is_file()


def test_a_strategy_to_be_like_that_is_none_is_refused(tmp_path: Path, demo: Path) -> None:
    with pytest.raises(InputError, match="selection.like=random is no strategy"):
        commands.select(configure(tmp_path, *on(demo), "fold=0", "selection=nearest", "selection.like=random"))


def test_a_truth_that_can_not_be_that_of_the_slides_is_refused(tmp_path: Path, demo: Path) -> None:
    truth = pd.read_csv(demo / "truth.csv")
    for number, (wrong, sentence) in enumerate(
        (
            (truth.head(0), "holds no cells"),
            (truth.drop(columns="width"), "lacks the column width"),
            (truth.assign(image="elsewhere/" + truth["image"]), "are not there"),
            (truth.assign(width=0), "belongs to no box"),
            (truth[~truth["image"].str.startswith("slides/labeled_")], "lacks .* labeled cells; it must hold them too"),
        )
    ):
        # Below the data's root, as it must be, and gone again: other tests share these slides.
        path = demo / f"wrong_{number}.csv"
        wrong.to_csv(path, index=False)
        try:
            with pytest.raises(InputError, match=sentence):
                commands.select(configure(tmp_path, *on(demo), f"data.truth={path.name}", "fold=0"))
        finally:
            path.unlink()


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("audit.page=perhaps", "audit.page=perhaps must be auto, true or false"),
        ("audit.planted=cells", "audit.planted=cells must be regions, boxes or null"),
        ("audit.num_crops=1", "audit.num_crops=1 must be a whole number, 2 or more"),
        ("audit.map_points=3", "audit.map_points=3 must be a whole number, 10 or more"),
        ("hidden_labels=1", "hidden_labels=1 must be a share"),
        ("hidden_labels=0.02", "hidden_labels=0.02 must be a share.*in steps of 0.05"),
        ("selection.alpha=true", "selection.alpha=True must be a number"),
        ("selection.lower=abc", "selection.lower=abc must be a number"),
        ("selection.upper=.inf", "selection.upper=.* must be a number"),
        ("selection.upper_quantile=null", "selection.upper_quantile=None must be a number"),
        ("selection.num_prototypes=2.5", "selection.num_prototypes=2.5 must be a whole number"),
        ("selection.prototypes_per_class=null", "selection.prototypes_per_class=None must be a whole number"),
        ("selection.features.image_size=0", "selection.features.image_size=0 must be a whole number"),
        ("selection.features.batch_size=0", "selection.features.batch_size=0 must be a whole number"),
    ],
)
def test_settings_of_the_audit_that_can_not_be_are_refused(
    tmp_path: Path, demo: Path, override: str, sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        commands.select(configure(tmp_path, *on(demo), "fold=0", override))
