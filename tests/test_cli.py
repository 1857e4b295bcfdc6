import errno
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from activessf import cli
from activessf.errors import InputError

ROOT = Path(__file__).resolve().parents[1]

# A program like train.py that only says which job it is, or fails as it is told to.
PROGRAM = """
import os, signal, time
from pathlib import Path
import hydra
from omegaconf import DictConfig
from activessf import cli
from activessf.errors import InputError

class SIGTERMException(SystemExit):
    pass

def stage(config: DictConfig) -> Path:
    index = config.fold.index
    if index in (1, 3) and config.fail == "input":
        raise InputError(f"fold {index} is empty; take another.")
    if index in (1, 3) and config.fail == "caused":
        raise RuntimeError("building failed") from InputError("the cause is named.")
    if index in (1, 3) and config.fail == "defect":
        raise RuntimeError(f"defect in fold {index}")
    if config.fail == "missing":
        return Path(config.data.root)
    if config.fail == "sigterm":
        raise SIGTERMException
    if config.fail == "killed" and index == 2:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    if config.fail == "ctrl-c":
        raise KeyboardInterrupt
    if config.fail == "ctrl-c-in-fit":
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise SystemExit(1)
    print(f"ran {config.ssl_method.name} {index!r} {config.selection.name}", flush=True)
    return Path(config.paths.output_dir)

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    cli.run(stage, config)

if __name__ == "__main__":
    cli.start(main, Path(__file__).resolve().parent / "conf")
"""

CONFIG = """
defaults:
  - ssl_method: mae
  - selection/features: resnet50
  - selection: none
  - fold: "0"
  - _self_
seed: 0
fail: no
data:
  root: ???
paths:
  output_dir: ${oc.env:ACTIVESSF_ROOT}/outputs
hydra:
  run:
    dir: ${paths.output_dir}/${oc.env:ACTIVESSF_PROCESS}
  sweep:
    dir: ${paths.output_dir}/${oc.env:ACTIVESSF_PROCESS}
    subdir: ${hydra.job.num}
  callbacks:
    sweep:
      _target_: activessf.jobs.sweep.SweepStart
"""

Runner = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    files = {
        "app.py": PROGRAM,
        "conf/config.yaml": CONFIG,
        **{f"conf/fold/{fold}.yaml": f"index: {fold}" for fold in range(5)},
        **{f"conf/ssl_method/{name}.yaml": f"name: {name}\nlayer_decay: 1.0" for name in ("mae", "mixmim")},
        **{f"conf/selection/{name}.yaml": f"name: {name}\nalpha: 0.5" for name in ("none", "activessf")},
        **{f"conf/selection/features/{name}.yaml": f"network: {name}" for name in ("resnet50", "vit_small")},
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def conf(app: Path) -> Path:
    return app / "conf"


@pytest.fixture
def call(app: Path, tmp_path: Path) -> Runner:
    """Run the program, from a foreign working directory."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HYDRA", "ACTIVESSF"))}
        return subprocess.run(
            [sys.executable, str(app / "app.py"), *arguments],
            cwd=tmp_path,
            env={**inherited, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


ON_DEVICES = ["hydra/launcher=activessf_devices", "hydra.launcher.n_jobs=2", "hydra.launcher.leases=leases"]


def newest_sweep(app: Path) -> Path:
    return max((app / "outputs").iterdir(), key=lambda path: path.stat().st_mtime_ns)


def overrides_of_newest_sweep(app: Path) -> list[list[str]]:
    sweep = newest_sweep(app)
    jobs = sorted(path for path in sweep.iterdir() if path.is_dir())
    return [yaml.safe_load((job / ".hydra/overrides.yaml").read_text()) for job in jobs]


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
    assert cli.canonical([typed], conf) == [read]


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
    assert cli.canonical([override], conf) == [override]


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
    assert cli.canonical(typed.split(), conf) == read.split()


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
    assert cli.canonical(typed.split()) == read.split()


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
    once = cli.canonical(arguments, conf)
    assert cli.canonical(once, conf) == once


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=5))
def test_ranges_include_both_ends_in_the_order_given(conf: Path, spans: list[tuple[int, int]]) -> None:
    expected = []
    for first, last in spans:
        expected.append(first)
        while expected[-1] != last:
            expected.append(expected[-1] + (1 if last > expected[-1] else -1))
    (override,) = cli.canonical(["fold=" + ",".join(f"{first}..{last}" for first, last in spans)], conf)
    assert override == "fold=" + ",".join(f"'{number}'" for number in expected)


def test_a_range_of_absurd_length_is_refused(conf: Path) -> None:
    with pytest.raises(InputError, match="100000000001 runs"):
        cli.canonical(["seed=0..100000000000"], conf)


def test_the_line_of_the_readme_composes_to_five_jobs_of_the_real_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACTIVESSF_ROOT", str(ROOT))
    flag, *overrides = cli.canonical("ssl=mae selection=activessf fold=0..4 -m".split())
    assert flag == "-m"
    (jobs,) = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(overrides), max_batch_size=None)
    with initialize_config_dir(str(cli.CONF), version_base="1.3"):
        configs = [compose("config", overrides=job) for job in jobs]
    assert [config.fold.index for config in configs] == [0, 1, 2, 3, 4]
    with initialize_config_dir(str(cli.CONF), version_base="1.3"):
        assert configs[2] == compose("config", overrides=cli.canonical(["fold=2"]))
        assert compose("config", overrides=cli.canonical(["ssl=none"])) != configs[0]


def test_every_script_offers_the_same_help() -> None:
    answers = [
        subprocess.run([sys.executable, str(ROOT / script), "--help"], capture_output=True, text=True, timeout=60)
        for script in ("preprocess.py", "train.py")
    ]
    for answer in answers:
        assert answer.returncode == 0, answer.stderr
        assert "ssl_method" in answer.stdout
        assert "fold: 0, 1, 2, 3, 4" in answer.stdout


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "devices"])
@pytest.mark.parametrize(
    "line",
    [
        "ssl=mae selection=activessf fold=0..4 -m",
        "ssl=mae -m selection=activessf fold=0..4",
        "-m ssl=mae selection=activessf fold=range(0,5)",
    ],
)
def test_a_sweep_runs_one_job_a_fold_and_records_plain_overrides(
    line: str, launcher: str, call: Runner, app: Path
) -> None:
    workers = ON_DEVICES if launcher == "devices" else []
    done = call(*line.split(), *workers)
    assert done.returncode == 0, done.stderr
    said = done.stdout + "".join(path.read_text() for path in newest_sweep(app).glob("*/output.log"))
    assert sorted(re.findall(r"ran mae (\d) activessf", said)) == ["0", "1", "2", "3", "4"]
    assert overrides_of_newest_sweep(app) == [
        ["ssl_method=mae", "selection=activessf", f"fold='{fold}'"] for fold in range(5)
    ]


def test_cfg_shows_the_method_and_the_fold(call: Runner) -> None:
    done = call("ssl=mixmim", "--cfg", "job", "fold=3")
    shown = OmegaConf.create(done.stdout)
    assert isinstance(shown, DictConfig)
    assert (done.returncode, shown.ssl_method.name, shown.fold.index) == (0, "mixmim", 3)


def test_a_run_says_where_its_result_is(call: Runner, app: Path) -> None:
    done = call("selection.features=vit_small", "fold=4")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["ran mae 4 none", f"The result is in {app / 'outputs'}"]


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


def start_in_this_process(
    arguments: list[str], app: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> tuple[object, str]:
    """Run the program here, which is faster; give its exit status and what it wrote to stderr."""
    for name in ("ACTIVESSF_ROOT", "ACTIVESSF_PROCESS", "PYTHONPATH"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(sys, "argv", ["app.py", *arguments])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    status: object = 0
    capfd.readouterr()
    try:
        runpy.run_path(str(app / "app.py"), run_name="__main__")
    except SystemExit as ending:
        status = ending.code
    return status, capfd.readouterr().err


def test_a_failed_job_does_not_stop_a_sweep_but_its_exit_status_is_2(call: Runner) -> None:
    done = call("fail=input", "fold=0..4", "-m")
    assert done.returncode == 2
    assert [line for line in done.stdout.splitlines() if line.startswith("ran ")] == [
        f"ran mae {fold} none" for fold in (0, 2, 4)
    ]
    assert "error in job 1 (fail=input fold='1'): fold 1 is empty; take another.\n" in done.stderr
    assert "error in job 3 (fail=input fold='3'): fold 3 is empty; take another.\n" in done.stderr
    assert "\n5 jobs: 3 finished, 2 failed, 0 missing.\n" in done.stderr
    assert re.search(
        r"  failed   1 fail=input fold='1'\n           \S+/1\n           \| fold 1 is empty; take another.\n",
        done.stderr,
    )
    assert done.stderr.endswith("The same command runs the failed and the missing ones again, and those alone.\n")
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_failed_jobs_in_other_processes_are_told_too(call: Runner, app: Path) -> None:
    done = call("fail=input", "fold=0..4", "-m", *ON_DEVICES)
    assert done.returncode == 2
    said = "".join(path.read_text() for path in newest_sweep(app).glob("*/output.log"))
    assert said.count("ran mae") == 3
    assert "fold 1 is empty" in done.stderr and "fold 3 is empty" in done.stderr
    assert "5 jobs: 3 finished, 2 failed, 0 missing." in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_defect_keeps_its_traceback_and_ends_with_status_1(call: Runner) -> None:
    done = call("fail=defect", "fold=1..3", "-m")
    assert done.returncode == 1
    assert "ran mae 2" in done.stdout
    assert "RuntimeError: defect in fold 1" in done.stderr
    assert "RuntimeError: defect in fold 3" in done.stderr
    assert "3 jobs: 1 finished, 2 failed, 0 missing." in done.stderr
    assert done.stderr.count("Traceback") == 2  # each once, as it happens
    assert "Traceback" in done.stderr


def test_a_job_leaves_its_state_its_error_and_its_log_in_its_folder(call: Runner, app: Path) -> None:
    call("fail=defect", "fold=0,1", "-m")
    sweep = max((app / "outputs").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    said = [json.loads((sweep / job / "status.json").read_text()) for job in ("0", "1")]
    assert [(one["state"], one["job"], one["overrides"]) for one in said] == [
        ("finished", 0, ["fail=defect", "fold='0'"]),
        ("failed", 1, ["fail=defect", "fold='1'"]),
    ]
    assert said[0]["result"] == str(app / "outputs") and not said[1]["mistake"]
    assert said[1]["error"].endswith("RuntimeError: defect in fold 1\n")
    assert "RuntimeError: defect in fold 1" in (sweep / "1" / "app.log").read_text()


def test_sigterm_ends_a_sweep_with_what_is_missing(call: Runner) -> None:
    done = call("fail=killed", "fold=0..4", "-m")
    assert done.returncode == 143 and "Traceback" not in done.stderr
    assert "5 jobs: 2 finished, 0 failed, 3 missing.\n" in done.stderr
    missing = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("  missing")]
    assert missing == ["2", "3", "4"]


def test_a_sweep_that_never_began_has_no_summary(call: Runner) -> None:
    done = call("fold=0,7", "-m")
    assert done.returncode == 2 and "jobs:" not in done.stderr


def test_full_errors_show_the_traceback_of_a_mistake(call: Runner) -> None:
    done = call("ssl=nope", HYDRA_FULL_ERROR="1")
    assert done.returncode == 2
    assert "Traceback" in done.stderr and "MissingConfigException" in done.stderr
    assert done.stderr.endswith("error: ssl_method has no option nope; its options are mae, mixmim.\n")


@pytest.mark.parametrize(("fail", "expected"), [("sigterm", 143), ("ctrl-c", 130), ("ctrl-c-in-fit", 130), ("no", 0)])
@pytest.mark.parametrize("mode", [[], ["-m"]])
def test_signals_give_the_exit_status_that_shells_expect(
    fail: str,
    expected: int,
    mode: list[str],
    app: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    status, output = start_in_this_process([f"fail={fail}", *mode], app, monkeypatch, capfd)
    assert status == expected
    assert "Traceback" not in output


def test_lightnings_end_on_sigterm_is_no_success() -> None:
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    def terminated(config: DictConfig) -> Path:
        raise SIGTERMException

    with pytest.raises(SystemExit) as ending:
        cli.run(terminated, OmegaConf.create())
    assert ending.value.code == 143


def test_start_exports_the_repository_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setenv("PYTHONPATH", "/first")
    for name in ("ACTIVESSF_ROOT", "ACTIVESSF_PROCESS"):
        monkeypatch.setenv(name, "of another run")
    for _ in range(2):
        cli.start(lambda: None)
    assert os.environ["PYTHONPATH"] == os.pathsep.join([str(ROOT), "/first"])
    assert os.environ["ACTIVESSF_ROOT"] == str(ROOT)
    assert os.environ["ACTIVESSF_PROCESS"] == str(os.getpid())
    monkeypatch.setenv("PYTHONPATH", "")
    cli.start(lambda: None)
    assert os.environ["PYTHONPATH"] == str(ROOT)


def test_errors_that_are_not_the_users_have_no_sentence(conf: Path) -> None:
    for error in (ValueError("bad"), RuntimeError("bad"), KeyError("bad"), OSError("bad")):
        assert cli.mistake(error, conf) is None


def test_a_disk_that_can_not_be_written_is_a_sentence(conf: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/data/out/regions.csv")
    assert cli.mistake(full, conf) == (
        "/data/out/regions.csv can't be used: No space left on device. "
        "Check the path, the rights and the room on the disk."
    )


def test_importing_the_command_line_brings_neither_torch_nor_pandas() -> None:
    code = "import sys, activessf.cli; print({'torch', 'pytorch_lightning', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
