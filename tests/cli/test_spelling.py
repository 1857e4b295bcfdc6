from pathlib import Path

import pytest
from calling import ROOT
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from activessf.cli.spelling import canonical
from activessf.configuration import CONF
from activessf.errors import InputError


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("ssl=mae", "ssl_method=mae"),
        ("+ssl=mae", "+ssl_method=mae"),
        ("++ssl=mae", "++ssl_method=mae"),
        ("~ssl", "~ssl_method"),
        ("ssl@other=mae", "ssl_method@other=mae"),
        ("ssl=mae,mixmim", "ssl_method=mae,mixmim"),
        ("ssl.layer_decay=1", "ssl_method.layer_decay=1"),
        ("selection.features=vit_small", "selection/features=vit_small"),
        ("selection.features=resnet50, vit_small", "selection/features=resnet50, vit_small"),
        ("+selection.features=vit_small", "+selection/features=vit_small"),
        ("~selection.features", "~selection/features"),
        ("selection.features=misspelt", "selection/features=misspelt"),
        ("fold=2", "fold='2'"),
        ("fold=0,2,4", "fold='0','2','4'"),
        ("fold= 0 , 2 ", "fold='0','2'"),
        ("fold=0..4", "fold='0','1','2','3','4'"),
        ("fold=4..0", "fold='4','3','2','1','0'"),
        ("fold=3..3", "fold='3'"),
        ("fold=range(0,5)", "fold='0','1','2','3','4'"),
        ("fold=range( 1, 5, 2 )", "fold='1','3'"),
        ("fold=range(2)", "fold='0','1'"),
        ("fold=0,2..4", "fold='0','2','3','4'"),
        ("fold=4,range(0,2),2..3", "fold='4','0','1','2','3'"),
        ("fold='1',2", "fold='1','2'"),
        ("++fold=1", "++fold='1'"),
        ("fold@other=1", "fold@other='1'"),
        ("seed=0..2", "seed=0,1,2"),
        ("+data.seed=7,0..1", "+data.seed=7,0,1"),
    ],
)
def test_what_people_type_becomes_what_hydra_reads(typed: str, read: str, conf: Path) -> None:
    assert canonical([typed], conf) == [read]


@pytest.mark.parametrize(
    "override",
    [
        "fold='2'",
        "fold='0','1'",
        'fold="2"',
        "fold=range(3,3)",
        "fold=",
        "fold=all",
        "fold=[0,1]",
        "fold=${other}",
        "fold.index=2",
        "fold=0...4",
        "fold=-1..2",
        "seed=1,2",
        "seed='0..4'",
        "seed=range(0,5)",
        "data.root=../0..4",
        "data.root=/slides/2..3/x",
        "selection.features=null",
        "selection.features={network: x}",
        "selection.features=folder/weights.pt",
        "selection.features.network=x",
        "hydra.sweeper.params.seed=0..4",
        "hydra.sweeper.params.fold=\"'0','1'\"",
        "hydra/launcher=devices",
        "classl=mae",
        "ssl",
        "ssl_method=mae",
        "install=bash",
        "",
        "=",
        "x" * 5000 + "=1",
        "a\x00b=1",
    ],
)
def test_everything_else_comes_back_as_it_came(override: str, conf: Path) -> None:
    assert canonical([override], conf) == [override]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("selection=random,nearest selection.budget=5 -m", "-m selection=random,nearest selection.budget=choice(5)"),
        ("ssl=mae,none ssl.layer_decay=1 seed=3 -m", "-m ssl_method=mae,none ssl_method.layer_decay=choice(1) seed=3"),
        ("selection=random,nearest selection.budget=5,6 -m", "-m selection=random,nearest selection.budget=5,6"),
        ("selection=random selection.budget=5 -m", "-m selection=random selection.budget=5"),
        ("selection=random,nearest selection.budget=5", "selection=random,nearest selection.budget=5"),
        ("selection.alpha=1,2 selection.budget=5 -m", "-m selection.alpha=1,2 selection.budget=5"),
    ],
)
def test_a_key_below_a_group_that_is_swept_is_swept_too(typed: str, read: str) -> None:
    assert canonical(typed.split()) == read.split()


KEYS = st.sampled_from(
    ["ssl", "fold", "seed", "selection.features", "selection", "a.b", "hydra.sweeper.params.fold", "ssl.x", "fold@a"]
)
ITEMS = st.sampled_from(
    ["0", "12", "0..3", "4..1", "'2'", '"3"', "range(1,4)", "range(2)", "mae", "vit_small", " 1 ", ""]
)
OVERRIDES = st.builds(
    lambda prefix, key, items: f"{prefix}{key}={','.join(items)}",
    st.sampled_from(["", "+", "++", "~"]),
    KEYS,
    st.lists(ITEMS, max_size=4),
)
FLAGS = st.sampled_from(
    ["-m", "--cfg", "job", "-c", "--info", "-i", "plugins", "--", "-", "-cd", "--help", "-sc", "--config-n"]
)


@given(st.lists(st.one_of(OVERRIDES, FLAGS, st.text(max_size=8)), max_size=8))
def test_a_canonical_command_line_stays_as_it_is(conf: Path, arguments: list[str]) -> None:
    once = canonical(arguments, conf)
    assert canonical(once, conf) == once


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=5))
def test_ranges_include_both_ends_in_the_order_given(conf: Path, spans: list[tuple[int, int]]) -> None:
    expected = []
    for first, last in spans:
        expected.append(first)
        while expected[-1] != last:
            expected.append(expected[-1] + (1 if last > expected[-1] else -1))
    (override,) = canonical(["fold=" + ",".join(f"{first}..{last}" for first, last in spans)], conf)
    assert override == "fold=" + ",".join(f"'{number}'" for number in expected)


def test_a_range_of_absurd_length_is_refused(conf: Path) -> None:
    with pytest.raises(InputError, match="100000000001 runs"):
        canonical(["seed=0..100000000000"], conf)


def test_the_line_of_the_readme_composes_to_five_jobs_of_the_real_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACTIVESSF_ROOT", str(ROOT))
    flag, *overrides = canonical("ssl=mae selection=activessf fold=0..4 -m".split())
    assert flag == "-m"
    (jobs,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(overrides), max_batch_size=None)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        configs = [compose("config", overrides=job) for job in jobs]
    assert [config.fold.index for config in configs] == [0, 1, 2, 3, 4]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert configs[2] == compose("config", overrides=canonical(["fold=2"]))
        assert compose("config", overrides=canonical(["ssl=none"])) != configs[0]
