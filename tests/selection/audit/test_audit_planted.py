from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from activessf.selection.audit.planted import planted_check
from activessf.selection.strategy import Selection

COLUMNS = ["prototype", "size", "lower", "upper", "threshold", "candidates", "selected", "purity", "a", "b", "c"]
LABELED = np.array([[0.0], [10.0]], np.float32)
LABELS = np.array(["a", "b"])


class Within:
    """Keeps what lies within 2 of 0 (an a) or 10 (a b); remembers what it was given."""

    needs_features = True

    def select(self, labeled, labels, classes, candidates, seed):
        self.given = np.array(candidates)
        away = np.abs(np.asarray(candidates) - labeled[:, 0])
        nearest = away.argmin(axis=1)
        table = pd.DataFrame([(k, 1, 0, 2, 2, 0, 0, 1.0, k == 0, k == 1, 0) for k in (0, 1)], columns=COLUMNS)
        return Selection(away.min(axis=1) <= 2, nearest, away.min(axis=1), np.full(len(candidates), 2.0), table)


class Nearest(Within):
    """Keeps half of what it is given: the nearest."""

    def select(self, labeled, labels, classes, candidates, seed):
        found = super().select(labeled, labels, classes, candidates, seed)
        kept = np.zeros(len(candidates), bool)
        kept[np.argsort(found.distance, kind="stable")[: len(candidates) // 2]] = True
        return Selection(kept, found.prototype, found.distance, found.threshold, found.prototypes)


class Everything:
    needs_features = False

    def select(self, labeled, labels, classes, candidates, seed):
        return Selection.without_prototypes(np.ones(len(candidates), bool))


def check(strategy, folder: Path, held_out, labels, candidates=((0.5,), (50.0,))):
    features = np.array(candidates, np.float32)
    held = np.array(held_out, np.float32)
    arguments = (LABELED, LABELS, ["a", "b", "c"], ["c", "b"], features, held, np.array(labels), 0, folder)
    return planted_check(strategy, *arguments).set_index("class")


def test_the_share_of_planted_cells_that_is_kept_by_hand(tmp_path: Path) -> None:
    strategy = Within()
    table = check(strategy, tmp_path, [[1.0], [3.0], [11.0], [1.5]], ["a", "a", "b", "b"])
    assert table.index.tolist() == ["b", "c", "a"] and table["rare"].tolist() == [True, True, False]
    assert table["planted"].to_dict() == {"a": 2, "b": 2, "c": 0} and table["kept"].to_dict() == {
        "a": 1,
        "b": 2,
        "c": 0,
    }
    assert table["recall"].tolist() == pytest.approx([1.0, np.nan, 0.5], nan_ok=True)
    # one of the b is nearest to the prototype of a
    assert table["right_prototype"].tolist() == pytest.approx([0.5, np.nan, 1.0], nan_ok=True)
    assert strategy.given.ravel().tolist() == [0.5, 50.0, 1.0, 3.0, 11.0, 1.5] and strategy.given.dtype == np.float32


def test_planted_cells_compete_for_a_number_and_leave_nothing_behind(tmp_path: Path) -> None:
    near = tuple((float(value),) for value in np.linspace(0, 0.4, 8))
    table = check(Nearest(), tmp_path, [[0.1], [1.9]], ["a", "a"], near)
    assert table.loc["a", "kept"] == 1 and list(tmp_path.iterdir()) == []


def test_a_strategy_without_features_and_prototypes_can_be_checked(tmp_path: Path) -> None:
    arguments = np.zeros((2, 0)), LABELS, ["a", "b"], [], np.zeros((3, 0)), np.zeros((2, 0)), np.array(["a", "b"]), 0
    table = planted_check(Everything(), *arguments, tmp_path)
    assert table["recall"].tolist() == [1.0, 1.0] and table["right_prototype"].isna().all()


def test_a_memory_map_of_candidates_is_joined_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("activessf.selection.audit.planted._CHUNK", 4)
    values = np.arange(11, dtype=np.float32)[:, None]
    np.save(tmp_path / "features.npy", values)
    strategy = Within()
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    held_out = np.array([[99.0]], np.float32)
    planted_check(strategy, LABELED, LABELS, ["a", "b", "c"], [], mapped, held_out, np.array(["a"]), 0, tmp_path)
    assert strategy.given.ravel().tolist() == [*range(11), 99]
