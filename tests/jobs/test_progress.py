import pytest

from activessf.jobs import progress as module
from activessf.jobs.progress import Progress, doing, progress, tell_end, tell_step


def test_results_on_the_way_to_others_are_told_while_they_are_made():
    assert progress() == Progress()
    with doing("runs/a"):
        with doing("pretraining/b"):
            assert progress().doing == "pretraining/b"
        assert progress().doing == "runs/a"
    assert progress() == Progress()


def test_steps_are_timed_from_the_first_that_is_told(monkeypatch):
    clock = [0.0]

    class Time:
        monotonic = staticmethod(lambda: clock[0])

    monkeypatch.setattr(module, "time", Time)
    with doing("pretraining/b"):
        # Resumed at step 100: two seconds a step since.
        for step in (101, 102, 103):
            tell_step("Pretraining", 4, step, 200, 0.5)
            clock[0] += 2
        there = progress()
        assert (there.step, there.total, there.epoch, there.loss) == (103, 200, 4, 0.5)
        assert there.seconds_per_step == 2 and there.seconds_left == 194
        tell_end()
        assert progress() == Progress("pretraining/b")
        # The next training of the process begins anew, though its steps are more.
        clock[0] += 1000
        tell_step("Pretraining", 0, 150, 200, None)
        assert progress().seconds_per_step is None and progress().seconds_left is None
        clock[0] += 3
        tell_step("Pretraining", 0, 151, 200, None)
        assert progress().seconds_per_step == pytest.approx(3)
    assert progress() == Progress()
