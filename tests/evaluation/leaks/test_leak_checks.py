"""Each check on runs that are clean, that leak in one way, and that are too old to tell."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from activessf.data.near_duplicates import SPANNING
from activessf.errors import InputError
from activessf.evaluation.leaks.checks import CHECKS, Checked
from activessf.evaluation.leaks.evidence import read_evidence, write_evidence
from activessf.evaluation.leaks.findings import allowed_checks, examine
from activessf.evaluation.runs import Run, collect_runs
from activessf.manifests import PROTOTYPES

WriteRun = Callable[..., Path]
CLASSES = ["a", "b"]
FOLDS = 3


def predictions(fold: int, group: str | None = None) -> pd.DataFrame:
    """Two cells of each class, each pair in a slide of a patient of the fold's."""
    labels = ["a", "a", "b", "b"]
    return pd.DataFrame(
        {
            "image": [f"slide_{fold}_{index // 2}.png" for index in range(4)],
            "x": [10, 60, 10, 60], "y": 5, "width": 40, "height": 40,
            "group": [group or f"patient_{fold}"] * 4,
            "fold": fold, "label": labels, "predicted": labels,
            "p_a": [0.9, 0.8, 0.1, 0.2], "p_b": [0.1, 0.2, 0.9, 0.8],
        }
    )  # fmt: skip


def training(fold: int) -> pd.DataFrame:
    return pd.concat([predictions(other) for other in range(FOLDS) if other != fold])


def prototypes(owned: Sequence[int]) -> pd.DataFrame:
    row: dict[str, Any] = dict.fromkeys(PROTOTYPES, 1) | {"size": sum(owned), "purity": 0.5}
    return pd.DataFrame([row | dict(zip(CLASSES, owned, strict=True))])


def give_evidence(
    folder: Path,
    fold: int,
    trained: pd.DataFrame | None = None,
    pretrained: Sequence[tuple[str, str]] = (("unlabeled.png", "patient_u"), ("unlabeled.png", "patient_u")),
    inputs: dict[str, Any] | None = None,
    owned: Sequence[int] = (4, 4),
    spanning: Sequence[Sequence[Any]] = (),
) -> None:
    """Evidence as a run of `train.py` with selection=activessf leaves it, clean unless told otherwise."""
    selection = folder.parent.parent.parent / "selection" / folder.parent.name / str(fold)
    selection.mkdir(parents=True)
    made_from = {"scope": "train_fold", "fold": fold, "folds": "demo-folds"} | (inputs or {})
    (selection / "inputs.json").write_text(json.dumps(made_from))
    prototypes(owned).to_csv(selection / "prototypes.csv", index=False)
    write_evidence(
        folder, fold, training(fold) if trained is None else trained,
        pd.DataFrame(list(pretrained), columns=["image", "group"]), selection,
        pd.DataFrame([list(row) for row in spanning], columns=list(SPANNING)),
    )  # fmt: skip
    record = json.loads((folder / "run.json").read_text())
    record |= {"stages": {"folds": "demo-folds"}, "stage_versions": {"regions": 4, "selection": 2}}
    (folder / "run.json").write_text(json.dumps(record))


@pytest.fixture
def write(write_run: WriteRun) -> Callable[..., Path]:
    def written(name: str = "mae-1", folds: Sequence[int] = range(FOLDS), **options: Any) -> Path:
        made: dict[str, Any] = {"counts": {"a": 6, "b": 6}, "num_folds": FOLDS, "scope": "train_fold"}
        return write_run(name, folds=folds, **(made | {"predictions": predictions} | options))

    return written


def read(folder: Path) -> Run:
    ((run,), _) = collect_runs(folder.parent)
    return run


def checked(folder: Path, name: str) -> Checked:
    run = read(folder)
    return CHECKS[name](run, {fold: read_evidence(result.folder) for fold, result in run.folds.items()})


def test_a_clean_run_passes_every_check(write: WriteRun) -> None:
    folder = write()
    for fold in range(FOLDS):
        give_evidence(folder / f"fold_{fold}", fold)
    assert [checked(folder, name) for name in CHECKS] == [Checked()] * 5
    findings = examine([read(folder)], ())
    assert findings.refused == () and findings.notes == ()


def test_a_run_without_evidence_says_what_could_not_be_checked(write: WriteRun) -> None:
    run = read(write())
    findings = examine([run], ())
    assert findings.refused == ()
    (note,) = findings.notes
    assert note.startswith("Could not be checked for leaks (pool, prototypes, duplicates)")
    assert note.endswith("mae + activessf (fold 0, 1, 2).")
    assert checked(run.folds[0].folder.parent, "groups") == Checked()  # all folds are there, which is enough


def test_groups_of_an_unfinished_run_without_evidence_could_not_be_checked(write: WriteRun) -> None:
    assert checked(write(folds=[0, 2]), "groups") == Checked(unchecked=(0, 2))


def test_a_group_that_two_folds_test_is_found(write: WriteRun) -> None:
    folder = write(predictions=lambda fold: predictions(fold, "patient_x" if fold != 1 else None))
    (leak,) = checked(folder, "groups").leaks
    assert leak.found == "1 group is in more than one fold"
    assert leak.examples == ("'patient_x' tested in folds 0, 2",)


def test_a_group_that_is_tested_and_trained_on_is_found_in_a_single_fold(write: WriteRun) -> None:
    folder = write(folds=[0])
    give_evidence(folder / "fold_0", 0, trained=pd.concat([training(0), predictions(2, "patient_0")]))
    (leak,) = checked(folder, "groups").leaks
    assert leak.examples == ("'patient_0' tested in fold 0 and trained on there",)


def test_cells_without_a_group_are_told_by_their_image(write: WriteRun) -> None:
    def shared_slide(fold: int) -> pd.DataFrame:
        cells = predictions(fold).assign(group="")
        cells.loc[0, "image"] = "shared.png" if fold < 2 else "own.png"
        return cells

    (leak,) = checked(write(predictions=shared_slide), "groups").leaks
    assert leak.found == "1 image is in more than one fold" and leak.examples == ("'shared.png' tested in folds 0, 1",)


@pytest.mark.parametrize(
    ("image", "group"),
    [("slide_1_0.png", ""), ("elsewhere.png", "patient_1"), ("slides/patient_1.tif", "")],
    ids=["the image of a test cell", "its patient", "the slide that its group names"],
)
def test_a_test_image_in_the_pretraining_pool_is_found(write: WriteRun, image: str, group: str) -> None:
    folder = write()
    for fold in range(FOLDS):
        clean = [("unlabeled.png", ""), (f"slide_{(fold + 1) % FOLDS}_0.png", f"patient_{(fold + 1) % FOLDS}")]
        give_evidence(folder / f"fold_{fold}", fold, pretrained=[*clean, *([(image, group)] * 2 if fold == 1 else [])])
    (leak,) = checked(folder, "pool").leaks
    assert leak.found == "pretraining saw 1 image that test cells come from"
    assert leak.examples == (f"{image!r} in fold 1",)
    others = {name: checked(folder, name) for name in CHECKS if name != "pool"}
    assert set(others.values()) == {Checked()}


def test_a_run_of_scope_all_counts_as_one_that_saw_test_images(write: WriteRun) -> None:
    folder = write(scope="all")
    (leak,) = checked(folder, "pool").leaks
    assert "selection.scope=all" in leak.found and leak.examples == ("fold 0, 1, 2",)
    assert checked(folder, "prototypes") == Checked()  # prototypes of all cells are what it asked for


def test_a_run_without_pretraining_has_no_pool(write: WriteRun) -> None:
    folder = write(method="none", scope=None)
    assert checked(folder, "pool") == checked(folder, "prototypes") == Checked()


@pytest.mark.parametrize("owned", [(6, 4), (4, 3)], ids=["all cells of a class", "too few"])
def test_prototypes_of_other_cells_than_the_training_ones_are_found(write: WriteRun, owned: tuple[int, int]) -> None:
    folder = write()
    for fold in range(FOLDS):
        give_evidence(folder / f"fold_{fold}", fold, owned=owned if fold == 2 else (4, 4))
    (leak,) = checked(folder, "prototypes").leaks
    assert leak.examples == (
        f"fold 2: the prototypes own {owned[0]} cells of 'a', the training folds have 4"
        if owned[0] != 4
        else f"fold 2: the prototypes own {owned[1]} cells of 'b', the training folds have 4",
    )


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"fold": 2}, "fold 1: the selection has fold=2, not 1"),
        ({"scope": "all"}, "fold 1: the selection has scope='all', not 'train_fold'"),
        ({"folds": "others"}, "fold 1: the selection has folds='others', not 'demo-folds'"),
    ],
)
def test_the_selection_of_another_fold_is_found(write: WriteRun, inputs: dict[str, Any], said: str) -> None:
    folder = write(folds=[1])
    give_evidence(folder / "fold_1", 1, inputs=inputs)
    (leak,) = checked(folder, "prototypes").leaks
    assert leak.examples == (said,)


def test_copies_of_test_cells_among_training_cells_are_found(write: WriteRun) -> None:
    folder = write(folds=[0, 1])
    box = (10, 5, 40, 40, "", "a", "c.png")
    spanning = [
        (7, 0, "slide_0_0.png", *box), (7, 2, "copy.png", *box),  # tested in fold 0
        (8, 1, "slide_1_0.png", *box), (8, 2, "other.png", *box), (8, 2, "third.png", *box),  # in fold 1
    ]  # fmt: skip
    for fold in (0, 1):
        give_evidence(folder / f"fold_{fold}", fold, spanning=spanning)
    (leak,) = checked(folder, "duplicates").leaks
    assert leak.found == "2 test cells show the same as a training cell, exactly or nearly"
    assert leak.examples == (
        "'slide_0_0.png' at 10, 5 in fold 0 and 'copy.png' at 10, 5 in fold 2",
        "'slide_1_0.png' at 10, 5 in fold 1 and 'other.png' at 10, 5 in fold 2",
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 3}, "seed is 3 in fold 1 and 0 in fold 0"),
        ({"settings": {"recipe.lr": 0.1}}, "recipe.lr is 0.1 in fold 1 and 0.2 in fold 0"),
        ({"settings": {}}, "recipe.lr is None in fold 1 and 0.2 in fold 0"),
        ({"stages": {"folds": "other-folds"}}, "folds is 'other-folds' in fold 1 and 'demo-folds' in fold 0"),
        ({"stage_versions": {"regions": 3}}, "version of regions is 3 in fold 1 and 4 in fold 0"),
    ],
)
def test_folds_of_different_settings_in_one_row_are_found(write: WriteRun, change: dict[str, Any], said: str) -> None:
    folder = write(folds=[0, 1], settings={"recipe.lr": 0.2}, scope=None)
    for fold in (0, 1):
        give_evidence(folder / f"fold_{fold}", fold)
    path = folder / "fold_1" / "run.json"
    record = json.loads(path.read_text())
    if "settings" in change:
        change = {"settings": {name: record["settings"][name] for name in record["settings"] if name != "recipe.lr"}
                  | change["settings"]}  # fmt: skip
    path.write_text(json.dumps(record | change))
    (leak,) = checked(folder, "configurations").leaks
    assert leak.examples == (said,)


def test_other_versions_of_packages_or_code_are_a_note_and_no_leak(write: WriteRun) -> None:
    folder = write()
    for fold in range(FOLDS):
        give_evidence(folder / f"fold_{fold}", fold)
    path = folder / "fold_2" / "run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"git": "4567def", "versions": {"torch": "3.0"}}))
    findings = examine([read(folder)], ())
    assert findings.refused == ()
    assert findings.notes == (
        "mae + activessf: fold 2 ran with other revisions of this code than fold 0.",
        "mae + activessf: fold 2 ran with other versions of packages than fold 0.",
    )


def test_what_is_allowed_by_name_becomes_a_note_and_nothing_else_does(write: WriteRun) -> None:
    def leaky(fold: int) -> pd.DataFrame:
        return predictions(fold, "one patient")

    runs = [read(write(name, scope="all", predictions=leaky)) for name in ["mae-1"]]
    refused = examine(runs, ()).refused
    assert [reason.split(":")[0] for reason in refused] == ["groups", "pool"]
    assert refused[0].endswith("--allow groups gives the table all the same, and says so.")
    partly = examine(runs, {"groups"})
    assert [reason.split(":")[0] for reason in partly.refused] == ["pool"]
    assert "Given in spite of a leak, by --allow groups: groups: in mae + activessf, 1 group is in" in partly.notes[0]
    assert examine(runs, {"groups", "pool"}).refused == ()


def test_the_same_leak_of_several_runs_is_told_once(write: WriteRun, tmp_path: Path) -> None:
    for name, title in (("mae-1", "one"), ("mae-2", "two")):
        write(name, title=title, predictions=lambda fold: predictions(fold, "same"))
    runs, _ = collect_runs(tmp_path / "runs")
    (reason,) = examine(runs, ()).refused
    assert reason.startswith("groups: in one, two, 1 group is in more than one fold ('same' tested in folds 0, 1, 2).")


def test_many_examples_are_cut_short(write: WriteRun) -> None:
    def cells(fold: int) -> pd.DataFrame:
        return predictions(fold).assign(group=["p1", "p2", "p3", "p4"])

    (reason,) = examine([read(write(predictions=cells))], ()).refused
    assert "4 groups are in more than one fold" in reason and "'p4'" not in reason and "; and 1 more)" in reason


def test_a_check_that_there_is_not_is_a_sentence() -> None:
    assert allowed_checks("") == frozenset() and allowed_checks("groups, pool") == {"groups", "pool"}
    with pytest.raises(
        InputError, match="names 'nope', which is no check; the checks are groups, pool, prototypes, dup"
    ):
        allowed_checks("groups,nope")


def test_evidence_counts_images_and_keeps_the_sets_of_its_own_fold(tmp_path: Path) -> None:
    (tmp_path / "fold_0").mkdir()
    box = (1, 2, 3, 4, "", "a", "c.png")
    spanning = pd.DataFrame(
        [(1, 0, "a.png", *box), (1, 2, "b.png", *box), (5, 1, "c.png", *box), (5, 2, "d.png", *box)],
        columns=list(SPANNING),
    )  # fmt: skip
    pool = pd.DataFrame({"image": ["NA", "NA", "b"], "group": ["", "", "007"]})
    write_evidence(tmp_path / "fold_0", 0, training(0), pool, None, spanning)
    evidence = read_evidence(tmp_path / "fold_0")
    assert evidence is not None and evidence.selection is None and evidence.prototypes is None
    assert evidence.training["cells"].sum() == 8 and len(evidence.training) == 4
    assert evidence.pretraining is not None
    assert evidence.pretraining.to_dict("records") == [
        {"image": "NA", "group": "", "images": 2}, {"image": "b", "group": "007", "images": 1},
    ]  # fmt: skip
    assert list(evidence.duplicates["image"]) == ["a.png", "b.png"]
    assert read_evidence(tmp_path) is None
