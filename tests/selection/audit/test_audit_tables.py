from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_score, recall_score

from activessf.errors import InputError
from activessf.selection.audit.decided import Decided, read_decided
from activessf.selection.audit.findings import findings
from activessf.selection.audit.tables import mix_table, summary, truth_table
from activessf.selection.audit.truth import NO_CELL, SEVERAL, UNKNOWN


def test_what_candidates_show_and_which_were_learnt_from(case: Any) -> None:
    found = case.decided().candidates
    assert found["truth"].tolist() == ["a", "b", NO_CELL, SEVERAL, UNKNOWN, "b"]
    assert found["seen"].tolist() == [True, True, False, False, False, True]
    told = case.decided(case.more_truth).candidates
    assert told["truth"].tolist() == ["a", "b", NO_CELL, SEVERAL, "debris", "b"]
    assert told["seen"].tolist() == [True, True, False, False, False, True]


def test_the_mix_by_hand(case: Any) -> None:
    table = mix_table(case.decided()).set_index("class")
    assert table.index.tolist() == ["b", "a"], "rare classes first"
    assert table["labeled"].to_dict() == {"a": 3, "b": 3} and table["prototypes"].to_dict() == {"a": 1, "b": 1}
    assert table["candidates"].to_dict() == {"a": 3, "b": 3} and table["kept"].to_dict() == {"a": 2, "b": 2}
    assert table["true_candidates"].to_dict() == {"a": 1, "b": 2} and table["true_kept"].to_dict() == {"a": 1, "b": 1}
    assert table["true_candidates_share"].to_dict() == pytest.approx({"a": 1 / 3, "b": 2 / 3})
    assert table["kept_share"].to_dict() == {"a": 0.5, "b": 0.5}


def test_precision_recall_and_lift_by_hand(case: Any) -> None:
    table = truth_table(case.decided(case.more_truth)).set_index("class")
    assert table.index.tolist() == ["b", "a", "debris", SEVERAL, NO_CELL]
    assert table["candidates"].tolist() == [2, 1, 1, 1, 1] and table["kept"].tolist() == [1, 1, 1, 1, 0]
    # kept with a known label: a, b, debris, of four with a known label
    assert table["precision"].tolist()[:3] == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert table["recall"].tolist() == [0.5, 1.0, 1.0, 1.0, 0.0]
    assert table["lift"].tolist()[:3] == pytest.approx([0.5 / 0.75, 1 / 0.75, 1 / 0.75])
    assert table[["precision", "lift"]].iloc[3:].isna().all(axis=None)
    assert table["new_candidates"].tolist() == [0, 0, 1, 1, 1] and table["new_kept"].tolist() == [0, 0, 1, 1, 0]
    assert table["new_recall"].isna().tolist() == [True, True, False, False, False]


def decided_of(truth: list[str], kept: list[bool], classes: list[str]) -> Decided:
    """A decision without prototypes on candidates whose true labels are given."""
    candidates = pd.DataFrame({"truth": truth, "kept": kept, "seen": False, "prototype": -1})
    prototypes = pd.DataFrame(columns=["stands_for", "purity", "threshold", "selected", "candidates"])
    counts = np.ones(len(classes), np.int64)
    return Decided(candidates, prototypes, np.empty((0, len(classes)), np.int64), classes, classes[:1], counts)


def test_recall_and_precision_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    truth, kept = rng.choice(["a", "b", "c"], 500, p=[0.1, 0.3, 0.6]), rng.random(500) < 0.4
    table = truth_table(decided_of(truth.tolist(), kept.tolist(), ["a", "b", "c"])).set_index("class")
    for name in ("a", "b", "c"):
        assert table.loc[name, "recall"] == pytest.approx(recall_score(truth == name, kept))
        assert table.loc[name, "precision"] == pytest.approx(precision_score(truth == name, kept))
        assert table.loc[name, "lift"] == pytest.approx(recall_score(truth == name, kept) / kept.mean())


def test_the_summary_by_hand(case: Any) -> None:
    decided = case.decided(case.more_truth)
    planted = pd.DataFrame({"class": ["b", "a"], "rare": [True, False], "recall": [0.25, 0.75]})
    found = summary(decided, truth_table(decided), planted)
    assert (found["candidates"], found["kept"], found["labeled"]) == (6, 4, 6)
    assert found["purity"] == pytest.approx((0.75 + 0.75 + 1 + 1) / 4) and found["threshold"] == 2.0
    assert found["agreement"] == 0.5, "of the kept a and b both are nearest to the prototype of a"
    assert found["rare_recall"] == 0.5 and found["rare_new_recall"] is None
    assert found["rare_planted_recall"] == 0.25 and found["planted_recall"] == 0.5
    assert summary(decided, truth_table(decided), None)["planted_recall"] is None


def test_a_selection_without_prototypes_has_counts_only(case: Any) -> None:
    decided = case.decided(bare=True, kept=[1] * 6)
    mix = mix_table(decided)
    assert mix[["candidates", "kept", "prototypes"]].to_numpy().sum() == 0 and mix["true_kept"].tolist() == [2, 1]
    found = summary(decided, truth_table(decided), None)
    assert found["purity"] is found["agreement"] is found["threshold"] is None and found["rare_recall"] == 1.0
    assert any("has no prototypes" in sentence for sentence in findings(decided, mix, truth_table(decided), None))


def test_without_labels_near_candidates_the_truth_is_empty_and_said_to_be(case: Any) -> None:
    case.cells = case.cells.assign(image="elsewhere.png")
    decided = case.decided()
    truth = truth_table(decided)
    assert truth.empty and set(decided.candidates["truth"]) == {UNKNOWN}
    assert summary(decided, truth, None)["rare_recall"] is None
    assert any("No candidate has a known label" in item for item in findings(decided, mix_table(decided), truth, None))


def test_classes_may_have_the_names_of_columns(case: Any) -> None:
    decided = case.decided(names=("size", "label"))
    assert decided.prototypes["stands_for"].tolist() == ["size", "label"]
    assert decided.prototypes["size"].tolist() == [4, 2] and decided.composition.tolist() == [[3, 1], [0, 2]]


def test_what_stands_out_is_said(case: Any) -> None:
    decided = case.decided(kept=[1, 0, 0, 0, 0, 0])
    planted = pd.DataFrame([("b", True, 4, 1, 0.25, 0.0)], columns=["class", "rare", "planted", "kept", "recall", "x"])
    text = "\n".join(findings(decided, mix_table(decided), truth_table(decided), planted))
    assert "b is rare and is kept less often than the average: 0 of 2" in text
    assert "Planted cells of the rare class b that are kept: 1 of 4" in text
    assert "their recall flatters" in text
    # 2 of 3 candidates at a prototype with 1 of 10 labeled cells
    crowded = case.decided()
    crowded.prototypes["candidates"], crowded.prototypes["size"] = [2, 4], [9, 1]
    text = "\n".join(findings(crowded, mix_table(crowded), truth_table(crowded), None))
    assert "67% of the candidates are nearest to prototype 1 (b), which has 10% of the labeled cells" in text
    assert "nearest to prototype 0" not in text
    debris = findings(d := case.decided(case.more_truth), mix_table(d), truth_table(d), None)
    assert any("1 of what is kept is no class of the labels: debris (33%" in sentence for sentence in debris)


def test_a_selection_of_other_regions_or_classes_is_refused(case: Any) -> None:
    case.write()
    with pytest.raises(InputError, match=r"selects among other regions: 'crops/5.png'"):
        read_decided(case.folder, case.regions.iloc[:5], case.cells, None, ["a", "b"], [])
    with pytest.raises(InputError, match="counts 2 classes instead of 1"):
        read_decided(case.folder, case.regions, case.cells, None, ["a"], [])
