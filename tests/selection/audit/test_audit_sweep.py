import shutil
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pandas as pd
import pytest

from activessf.errors import InputError
from activessf.selection.audit.__main__ import main
from activessf.selection.audit.page import write_tables
from activessf.selection.audit.sweep import means, read_sweeps

AMONG = {"regions": "tiny-1", "scope": "train_fold", "features": {"model_name": "net"}}


def planted(recall: float) -> pd.DataFrame:
    rows = [("b", True, 4, 4 * recall, recall, 0.5), ("a", False, 2, 1, 0.5, 0.5)]
    return pd.DataFrame(rows, columns=["class", "rare", "planted", "kept", "recall", "right_prototype"])


@pytest.fixture
def outputs(case: Any, tmp_path: Path) -> Path:
    """Two alphas in two folds, one selection without features, and one of other regions."""
    kept = {(0.5, 0): [1, 1, 1, 1, 1, 1], (0.5, 1): [1, 1, 0, 1, 1, 0], (1.0, 0): [1, 0, 0, 0, 0, 0]}
    kept[1.0, 1] = [1, 0, 0, 1, 0, 0]
    for (alpha, fold), chosen in kept.items():
        audit(case, tmp_path, "activessf", fold, {"alpha": alpha, "bounds": "cluster"}, AMONG, chosen, sum(chosen) / 8)
    audit(case, tmp_path, "crf", 0, {"_target_": "x"}, AMONG | {"features": None}, [1] * 6, 1.0, bare=True)
    audit(case, tmp_path, "activessf", 3, {"alpha": 0.5}, AMONG | {"regions": "tiny-2"}, [1] * 6, 1.0)
    return tmp_path


def audit(case, root, name, fold, strategy, among, kept, recall, **changes) -> None:
    folder = root / "stages" / "audits" / f"{name}-{len(list(root.rglob('summary.json')))}"
    folder.mkdir(parents=True)
    facts = {"data": "tiny", "selection": name, "folder": folder.name, "fold": fold, "seed": 0, "strategy": strategy}
    write_tables(case.decided(kept=kept, **changes), planted(recall), {**facts, "among": among}, folder)


def test_only_what_may_be_compared_stands_together(outputs: Path) -> None:
    first, second = read_sweeps(outputs / "stages" / "audits")
    assert first.rows["series"].tolist() == ["activessf"] * 4 + ["crf"] and second.rows["fold"].tolist() == [3]
    assert "tiny-1" in first.title and "tiny-2" in second.title and first.name != second.name
    assert first.rows["kept/b"].tolist() == [2, 1, 0, 0, 2] and first.rows["recall/b"].tolist() == [1, 0.5, 0, 0, 1]


def test_means_over_folds_are_those_by_hand(outputs: Path) -> None:
    table = means(read_sweeps(outputs / "stages" / "audits")[0]).set_index(["series", "alpha"])
    half = table.loc[("activessf", 0.5)]
    assert half["folds"] == 2 and half["kept"] == 5 and half["kept_sd"] == pytest.approx(stdev([6, 4]))
    assert half["rare_planted_recall"] == mean([6 / 8, 4 / 8])
    # Of the first fold's six kept, three have a nearest prototype of purity 3/4, three of 1; of the second's two each.
    assert half["purity"] == 0.875 and half["purity_sd"] == 0
    level = table.loc["crf"].iloc[0]
    assert level["folds"] == 1 and level["kept"] == 6 and np.isnan(level["kept_sd"]) and np.isnan(level["purity"])


def test_a_selection_that_was_audited_twice_counts_once(outputs: Path) -> None:
    audits = outputs / "stages" / "audits"
    shutil.copytree(audits / "activessf-0", audits / "activessf-0-again")
    assert read_sweeps(audits)[0].rows["kept"].tolist() == [6, 4, 1, 2, 6]


def test_settings_that_vary_name_the_series(case: Any, tmp_path: Path) -> None:
    for bounds in ("cluster", "quantile"):
        audit(case, tmp_path, "activessf", 0, {"alpha": 1, "bounds": bounds, "lower": 15}, AMONG, [1] * 6, 1.0)
    audit(case, tmp_path, "random", 0, {"like": {"alpha": 2, "bounds": "fixed"}}, AMONG, [1] * 6, 1.0)
    rows = read_sweeps(tmp_path / "stages" / "audits")[0].rows
    assert rows["series"].tolist() == ["activessf bounds=cluster", "activessf bounds=quantile", "random"]
    assert rows["alpha"].tolist() == [1, 1, 2]


def test_what_is_kept_and_truly_of_no_class_is_counted(case: Any, tmp_path: Path) -> None:
    kept = [1, 1, 0, 1, 1, 0]  # an a, a b, several, debris
    audit(case, tmp_path, "activessf", 0, {"alpha": 1}, AMONG, kept, 1.0, truth=case.more_truth)
    audit(case, tmp_path, "random", 0, {}, AMONG, kept, 1.0)
    found = read_sweeps(tmp_path / "stages" / "audits")[0].rows.set_index("selection")["strangers"]
    assert found["activessf"] == pytest.approx(1 / 3) and np.isnan(found["random"])


def test_audits_of_one_selection_with_other_truth_are_not_taken_for_each_other(case: Any, tmp_path: Path) -> None:
    for truth in ("first", "second"):
        among = {**AMONG, "truth": truth}
        audit(case, tmp_path / truth, "activessf", 0, {"alpha": 1}, among, [1] * 6, 1.0)
        shutil.copytree(next((tmp_path / truth / "stages" / "audits").iterdir()), tmp_path / "all" / truth)
    assert len(read_sweeps(tmp_path / "all")) == 2


def test_the_command_writes_tables_figure_and_page(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", str(outputs), "--data", "tiny", "--folds", "0", "1"]) == 0
    shown = capsys.readouterr().out
    page = outputs / "selection_sweeps" / "index.html"
    assert "activessf  0.5    2      5 \N{PLUS-MINUS SIGN} 1.414" in shown and str(page) in shown
    (folder,) = (path for path in page.parent.iterdir() if path.is_dir())
    assert (folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert len(pd.read_csv(folder / "audits.csv")) == 5 and len(pd.read_csv(folder / "means.csv")) == 3
    assert f'src="{folder.name}/sweep.png"' in page.read_text()


def test_what_is_not_there_is_a_sentence(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--output", str(outputs), "--data", "bccd"]) == 2
    assert "there are tiny, fold 0; tiny, fold 1; tiny, fold 3" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"holds no audit of a selection; run select\.py first"):
        read_sweeps(outputs / "nothing")


def test_a_rival_with_a_budget_of_its_own_has_no_alpha(case: Any, tmp_path: Path) -> None:
    for budget in (None, 3):
        audit(case, tmp_path, "random", 0, {"budget": budget, "like": {"alpha": 2}}, AMONG, [1] * 6, 1.0)
    audit(case, tmp_path, "activessf_plus", 0, {"budget": 3, "base": {"alpha": 2}}, AMONG, [1] * 6, 1.0)
    rows = read_sweeps(tmp_path / "stages" / "audits")[0].rows.set_index("series")
    assert rows.loc["activessf_plus", "alpha"] == 2 and rows.loc["random budget=null", "alpha"] == 2
    assert np.isnan(rows.loc["random budget=3", "alpha"])


def test_sweeps_of_other_truth_have_titles_of_their_own(case: Any, tmp_path: Path) -> None:
    for truth in ("aa", "bb"):
        audit(case, tmp_path, "activessf", 0, {"alpha": 1}, AMONG | {"truth": truth}, [1] * 6, 1.0)
    first, second = read_sweeps(tmp_path / "stages" / "audits")
    assert first.title != second.title and first.name in first.title and second.name in second.title
