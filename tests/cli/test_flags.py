from pathlib import Path

import pytest

from activessf.cli.flags import is_sweep, split_flags
from activessf.cli.spelling import canonical


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("ssl=mae fold=0 -m", "-m ssl_method=mae fold='0'"),
        ("ssl=mae -m fold=0", "-m ssl_method=mae fold='0'"),
        ("-m ssl=mae fold=0", "-m ssl_method=mae fold='0'"),
        ("fold=0 --multirun seed=1", "--multirun fold='0' seed=1"),
        ("fold=0 --cfg job --resolve seed=1", "--cfg job --resolve fold='0' seed=1"),
        ("fold=0 -c job --package fold", "-c job --package fold fold='0'"),
        ("seed=1 -p a.b --config-dir x=y", "-p a.b --config-dir x=y seed=1"),
        ("seed=1 -cd x -cp y -cn z a=1", "-cd x -cp y -cn z seed=1 a=1"),
        ("seed=1 --config-d x --config-name=z", "--config-d x --config-name=z seed=1"),
        ("seed=1 --experimental-rerun f", "--experimental-rerun f seed=1"),
        ("seed=1 --info plugins", "--info plugins seed=1"),
        ("seed=1 -i", "--info=all seed=1"),
        ("-i fold=1", "--info=all fold='1'"),
        ("fold=1 --help", "--help fold='1'"),
        ("seed=1 --dry-run -m", "-m seed=1 dry_run=true"),
        ("--hydra-help", "--hydra-help"),
        ("-sc install=bash", "-sc install=bash"),
        ("seed=1 -m -- ssl=mae -x", "-m seed=1 -- ssl_method=mae -x"),
    ],
)
def test_flags_move_to_the_front_with_their_values(typed: str, read: str, conf: Path) -> None:
    assert canonical(typed.split(), conf) == read.split()


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("fold=0,1 -m", True),
        ("--multirun fold=0,1", True),
        ("hydra.mode=MULTIRUN fold=0,1", True),
        ("fold=0", False),
        ("-cn -m fold=0", True),  # a flag is never the value of another
        ("fold=0 -- -m", False),
    ],
)
def test_a_sweep_is_known_by_its_flag_or_its_mode(typed: str, expected: bool) -> None:
    assert is_sweep(*split_flags(typed.split())) == expected
