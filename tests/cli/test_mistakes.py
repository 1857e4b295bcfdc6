import errno
from pathlib import Path

import pytest
from program import (
    Runner,
    start_in_this_process,
)

from activessf.cli.mistakes import mistake


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("ssl=nope", "ssl_method has no option nope; its options are mae, mixmim."),
        ("fold=7", "fold has no option 7; its options are 0, 1, 2, 3, 4."),
        ("fold=0,7 -m", "fold has no option 7; its options are 0, 1, 2, 3, 4."),
        ("selection.features=vit", "selection/features has no option vit; its options are resnet50, vit_small."),
        ("selection.alhpa=1", "There is no key selection.alhpa; did you mean selection.alpha?"),
        ("selction.alpha=1", "There is no key selction; did you mean selection"),
        ("data.zzz=1", "There is no key data.zzz; data has root."),
        ("fold=0..2", "fold has several values ('0','1','2'); add -m to run one job for each."),
        ("seed=1,2", "seed has several values (1,2); add -m to run one job for each."),
        ("seed=range(0,3)", "seed has several values (range(0,3)); add -m to run one job for each."),
        ("+seed=1", "The key seed is there already; leave away the + before it."),
        ("nonsense", "The argument nonsense can't be read; write key=value."),
        ("data.root=a=b", "The value of data.root can't be read: a=b; put it into quotes twice, 'data.root=\"a=b\"'."),
        ("ssl=3", "Config group override must be a string or a list."),
        ("--cfg job -m", "Only one of --run, --multirun, --cfg"),
        ("fail=missing", "data.root has no value; give one with data.root=..."),
        ("fail=input fold=1", "fold 1 is empty; take another."),
        ("fail=caused fold=1", "the cause is named."),
        ("seed=0..99999", "0..99999 stands for 100000 runs; give a range of at most 10000."),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_status_2(
    line: str, sentence: str, app: Path, conf: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    status, output = start_in_this_process(line.split(), app, monkeypatch, capfd)
    assert status == 2
    assert output.startswith(f"error: {sentence}")
    assert output.count("\n") == 1


def test_full_errors_show_the_traceback_of_a_mistake(call: Runner) -> None:
    done = call("ssl=nope", HYDRA_FULL_ERROR="1")
    assert done.returncode == 2
    assert "Traceback" in done.stderr and "MissingConfigException" in done.stderr
    assert done.stderr.endswith("error: ssl_method has no option nope; its options are mae, mixmim.\n")


def test_errors_that_are_not_the_users_have_no_sentence(conf: Path) -> None:
    for error in (ValueError("bad"), RuntimeError("bad"), KeyError("bad"), OSError("bad")):
        assert mistake(error, conf) is None


def test_a_disk_that_can_not_be_written_is_a_sentence(conf: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/data/out/regions.csv")
    assert mistake(full, conf) == (
        "/data/out/regions.csv can't be used: No space left on device. "
        "Check the path, the rights and the room on the disk."
    )
