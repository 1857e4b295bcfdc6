import json
from pathlib import Path

from activessf.planning.plan import PLAN_FILE, Piece, Plan, duration, read_plans, told


def plans() -> list[Plan]:
    """Two folds of one method: the regions are there, a selection each, the second fold's run is there."""
    regions = Piece("regions", "demo-1", True, 500.0)
    first = (regions, Piece("selection", "s0", False, None), Piece("run", "r/fold_0", False, 7200.0, 400, "a guess"))
    shared = Piece("pretraining", "p", False, 3600.0, 200, "a guess")
    return [
        Plan("mae", 0, (*first[:2], shared, first[2]), (1, 2)),
        Plan("mae", 1, (Piece("run", "r/fold_1", True, None),), (1, 2)),
        Plan("mae", 2, (regions, shared, Piece("run", "r/fold_2", False, 3600.0, 400, "a guess")), (1, 2)),
    ]


def test_jobs_that_do_the_same_are_one_line_with_their_folds():
    def plan(title: str, fold: int, ready: bool = False) -> Plan:
        return Plan(title, fold, (Piece("run", f"{title}/{fold}", ready, 1.0, 7),), ())

    sweep = [plan("mae", fold, ready=fold == 3) for fold in range(5)] + [plan("vit", 2), plan("vit", 2)]
    lines = [line for line in told(sweep).splitlines() if line.startswith(("  mae", "  vit"))]
    assert lines == [
        "  mae, folds 0-2, 4: makes run (7 steps)",
        "  mae, fold 3: is there already",
        "  vit, fold 2 (2 jobs): makes run (7 steps)",
    ]


def test_what_is_here_is_told_beside_the_numbers_that_were_asked_for():
    here = [Plan(plan.title, plan.fold, plan.pieces, (1,), here=2) for plan in plans()]
    lines = told(here).splitlines()
    assert "  on   1 device(s)      4.0 h" in lines and "  here, 2 at a time     3.0 h" in lines
    assert not any("at a time" in line for line in told(plans()).splitlines())


def test_the_plan_counts_shared_pieces_once_and_names_what_it_does_not_know():
    lines = told(plans()).splitlines()
    assert "  mae, fold 0: makes selection, pretraining (200 steps), run (400 steps); reuses regions" in lines
    assert "  mae, fold 1: is there already" in lines
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("  ") and line.split()}
    assert rows["regions"] == ["1", "0"]
    assert rows["selection"] == ["0", "1", "?"]
    assert rows["pretraining"] == ["0", "1", "200", "60", "min"]
    assert rows["run"] == ["1", "2", "800", "3.0", "h"]
    # One pretraining of an hour, runs of two and one; alone they would have paid for two.
    assert "All pieces, each made once: 4.0 h, 5.0 h if no job shared with another." in lines
    assert "  on   1 device(s)      4.0 h" in lines and "  on   2 device(s)      3.0 h" in lines
    assert "  pretraining: 1 estimated from a guess." in lines
    assert lines[-1] == "  Nothing is known yet of the cost of selection; it counts as 0 above."


def test_a_plan_is_read_back_as_it_was_written(tmp_path: Path):
    folders = [tmp_path / str(number) for number in range(4)]
    for folder, plan in zip(folders, plans(), strict=False):
        folder.mkdir()
        (folder / PLAN_FILE).write_text(json.dumps(plan.to_json()))
    assert read_plans(folders) == plans()


def test_durations_are_told_as_people_say_them():
    assert [duration(seconds) for seconds in (0.2, 99, 100, 5999, 6000, 360000)] == [
        "0 s", "99 s", "2 min", "100 min", "1.7 h", "100.0 h"
    ]  # fmt: skip
