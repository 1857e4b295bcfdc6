"""The command line of all scripts: how it may be spelled, how a run ends, what a user's mistake looks like."""

from __future__ import annotations

import difflib
import errno
import logging
import os
import re
import shlex
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import yaml
from hydra._internal import utils as hydra_internals
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from activessf.errors import InputError, JobFailed
from activessf.jobs.sweep import exit_status, forget_sweep, summary, sweep_of_this_process
from activessf.launching.command import COMMAND, PART_OF, SCRIPT, job_command, job_number, own_node
from activessf.launching.ranks import own_rank
from activessf.planning.plan import read_plans, told

CONF = Path(__file__).resolve().parents[1] / "conf"

MISTAKE_STATUS = 2
INTERRUPTED_STATUS = 130  # 128 + SIGINT, as shells report it
TERMINATED_STATUS = 143  # 128 + SIGTERM

# What paths and disks are to blame for, whoever met it.
_DISK_FAULTS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.ENAMETOOLONG, errno.EISDIR),
)

_GROUP_ALIASES = {"ssl": "ssl_method"}
# Dotted keys that are also config groups: a value that is a name means an option of the group.
_DOTTED_GROUPS = {"selection.features": "selection/features"}

_FLAGS_WITH_VALUE = (
    *("--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
    "--experimental-rerun",
)
_INFO_FLAGS = ("--info", "-i")
_INFO_VALUES = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")

_OVERRIDE = re.compile(r"(?P<prefix>~|\+{0,2})(?P<key>[^\s~+=@]+)(?P<package>@[^=]*)?(?:=(?P<value>.*))?", re.S)
_COMMA_OUTSIDE_PARENTHESES = re.compile(r",(?![^(]*\))")
_SPAN = re.compile(r"([0-9]+)\.\.([0-9]+)")
_RANGE = re.compile(r"range\(\s*(?:([0-9]+)\s*,\s*)?([0-9]+)\s*(?:,\s*([1-9][0-9]*)\s*)?\)")
_NUMBER = re.compile(r"[0-9]+|'[0-9]+'|\"[0-9]+\"")
_ONE_VALUE = re.compile(r"[^\s,()\[\]{}]+")
_NAME = re.compile(r"(?!(?:null|true|false)$)[A-Za-z][\w-]*", re.I)
_LONGEST_SWEEP = 10_000
_SUBMITIT = "hydra/launcher/submitit_slurm"  # what conf/hydra/launcher/slurm.yaml builds on
_WITHOUT_FOLDER = ("hydra.output_subdir=null", "hydra.run.dir=.", "hydra/job_logging=stdout")

# Hydra raises these as plain ValueErrors; others of that type are ours or a library's and keep their traceback.
_HYDRA_VALUE_ERRORS = {
    "Config group override": "Give the name of an option; a number needs quotes, as in \"group='2'\".",
    "Unsupported item value in defaults": "A number in the defaults list of a configuration file needs quotes.",
    "Only one of --run": "Leave all but one away.",
    "The --resolve flag": "Add --cfg job.",
}


def canonical(overrides: Sequence[str], conf: Path = CONF) -> list[str]:
    """Rewrite a command line as people type it into one that Hydra reads the same way.

    - `ssl=mae` becomes `ssl_method=mae`, and so for the keys in it (`ssl.layer_decay=1`).
    - `selection.features=NAME` becomes `selection/features=NAME`, for a comma list of names too, known or not (so that
      Hydra answers a misspelt one with the options); null, dictionaries, paths and the like stay a plain key's value.
    - In a group whose options are all numbers (`fold`) a number becomes a quoted string, since Hydra takes only
      strings for groups: `fold=2` becomes `fold='2'`; `fold=0,2`, `fold=0..4`, `fold=4..0`, `fold=range(0,5)` and
      mixtures become lists of quoted numbers.
    - For every other key outside `hydra.`, a value that is a comma list of whole numbers with at least one
      range `a..b` becomes the plain list: `seed=0..2` becomes `seed=0,1,2`. Quoted, it stays a text.
    - In a sweep over the options of a group, a key below that group becomes a sweep over its one value:
      `selection=random,nearest selection.budget=500 -m` has `selection.budget=choice(500)`. Hydra would else look for
      the key in the group's default option and refuse it.
    - A value `~/...` has the home folder put in: shells do that only at the beginning of a word.
    - Flags such as -m and `--cfg job` move to the front with their values: argparse refuses those that stand
      between overrides.
    - `--dry-run` becomes `dry_run=true`.

    A range includes both ends and may run downwards. The prefixes `+`, `++`, `~` and a package (`ssl@other=mae`) are
    kept, everything else is returned as it came, and a result given again comes back unchanged.

    Args:
        overrides: Arguments after the script's name.
        conf: Folder of the configuration, whose sub-folders are the groups.

    Returns:
        Flags, then overrides, each in the order given.

    Raises:
        InputError: A range has more than 10,000 members.
    """
    flags, rest = _split_flags(overrides)
    rest = [_canonical_override(override, conf) for override in rest]
    if {"-m", "--multirun"} & set(flags) or "hydra.mode=MULTIRUN" in rest:
        rest = _with_swept_groups(rest, conf)
    return flags + rest


def run(
    stage: Callable[[DictConfig], Path], config: DictConfig, devices: Callable[[DictConfig], int] | None = None
) -> Path | None:
    """Run one job and say where its result is; to be called by the function under `@hydra.main`.

    A single run that fails by a user's mistake ends here with one sentence on stderr. In a sweep the job says what
    went wrong as soon as it does, and its exception goes on to Hydra, which runs the other jobs and then raises the
    first failed job's; `start` turns that into the exit status. A stage that is to have several devices is run by as
    many processes, which this one starts and waits for; where it is one of several itself, all run the stage.

    Args:
        stage: One of the functions of `activessf.pipeline`; returns the file or folder of its result.
        config: The job's composed configuration.
        devices: How many devices the stage is to have; None = it has no use for more than one.

    Returns:
        What the stage returned; None where other processes ran it.

    Raises:
        SystemExit: Status 2 after a user's mistake in a single run, 143 after SIGTERM, 130 after Ctrl-C in a fit.
        JobFailed: In a sweep, after the processes of a job have failed.
        Exception: Whatever else the stage raised; in a sweep and under HYDRA_FULL_ERROR=1 mistakes too.
    """
    from activessf.jobs.recording import recorded  # brings pandas, which --help needn't wait for

    try:
        _refuse_a_sweep_as_one_run()
        rank = own_rank()
        if rank.count > 1 and devices is None:
            raise InputError("Only train.py runs as several processes; start this script without torchrun and srun.")
        if rank.index > 0:
            logging.getLogger().setLevel(logging.WARNING)  # process 0 tells the rest
        with _warnings_told():
            if rank.count == 1 and devices is not None and (count := devices(config)) > 1:
                _run_as_team(count)
                return None
            result = recorded(lambda: stage(config), mistake)
    except SystemExit as error:
        _exit_as_signalled(error)
        raise
    except Exception as error:
        sentence = mistake(error)
        if in_sweep():
            if not isinstance(error, JobFailed):
                _tell_failed_job(sentence)
            if not _sweeps_here():
                raise SystemExit(1 if sentence is None else MISTAKE_STATUS) from error
        elif sentence is not None and not _full_errors():
            _fail(sentence, error)
        raise
    if rank.index == 0:
        print(f"The result is in {result}", flush=True)
    return result


def _run_as_team(count: int) -> None:
    """Run this job again as processes of one training; see `launching.team`."""
    from activessf.launching.team import run_team  # brings torch

    hydra = own_node()
    folder = Path(hydra.runtime.output_dir)
    # Its files below .hydra are there already.
    status = run_team(job_command(hydra, folder, "hydra.output_subdir=null"), count, folder)
    if status in (0, INTERRUPTED_STATUS, TERMINATED_STATUS) or not _sweeps_here():
        if status:
            raise SystemExit(status)
        return
    raise JobFailed(f"The processes of {_job_in_words()} have failed; what they said stands above.", status)


def start(main: Callable[[], Any], conf: Path = CONF) -> None:
    """Run a script: `start(main)` under `if __name__ == "__main__":`, where `main` is the function under `@hydra.main`.

    Rewrites `sys.argv` by `canonical` and ends in one sentence and exit status 2 where the user gave something that
    can't be used; HYDRA_FULL_ERROR=1 adds the traceback. For the configuration, and for the processes that launchers
    start, it exports ACTIVESSF_ROOT (the repository, absolute), ACTIVESSF_PROCESS (this process's id),
    ACTIVESSF_SCRIPT (the script's path), ACTIVESSF_COMMAND (the command line as typed), and the repository on
    PYTHONPATH.

    Args:
        main: Takes no argument: Hydra reads the command line.
        conf: Folder of the configuration; its parent is the repository.

    A sweep ends with a summary of its jobs: finished, failed, missing.

    Raises:
        SystemExit: Status 2 after a user's mistake (in a sweep, if all jobs that failed did so by one), 1 after another
            error, 130 after Ctrl-C, 143 after SIGTERM.
    """
    _export_environment(conf.parent)
    typed = shlex.join(["python", Path(sys.argv[0]).name, *sys.argv[1:]])
    os.environ[COMMAND] = os.environ.get(PART_OF) or typed
    os.environ[SCRIPT] = os.path.abspath(sys.argv[0])
    forget_sweep()
    try:
        with _terminable():
            _start(main, conf)
    except BaseException as ending:
        status = _end_sweep()
        stopped = isinstance(ending, SystemExit) and ending.code in (INTERRUPTED_STATUS, TERMINATED_STATUS)
        if status and not stopped:
            raise SystemExit(status) from ending
        raise
    if status := _end_sweep():
        raise SystemExit(status)


def _start(main: Callable[[], Any], conf: Path) -> None:
    try:
        sys.argv[1:] = _as_rank(canonical(sys.argv[1:], conf))
        with _mistakes_reported(conf):
            main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED_STATUS) from None
    except Exception as error:
        sentence = mistake(error, conf)
        if sentence is None:
            raise
        if _full_errors():
            traceback.print_exc()
        _fail(sentence, error)


def _end_sweep() -> int:
    """Print the summary of the sweep, if this process has started one; returns the exit status it asks for."""
    sweep = sweep_of_this_process()
    if sweep is None:
        return 0
    plans = read_plans([record.folder for record in sweep.records])
    if plans:
        print(told(plans), flush=True)
    if not plans or sweep.failed or sweep.missing:
        print(summary(sweep), file=sys.stderr if sweep.failed or sweep.missing else sys.stdout, flush=True)
    return exit_status(sweep, MISTAKE_STATUS)


def mistake(error: BaseException, conf: Path = CONF) -> str | None:
    """Say in a sentence or two what the user did wrong, or return None where the error isn't the user's.

    Mistakes are an `InputError` (also as the cause of another error, as when Hydra builds an object), a value left
    at `???`, and what Hydra finds when it reads the command line and the configuration.

    Args:
        error: The exception, with its causes.
        conf: Folder of the configuration, whose groups are proposed for misspelt ones.
    """
    for cause in _causes(error):
        if isinstance(cause, InputError):
            return str(cause)
        if isinstance(cause, OmegaConfBaseException) and (
            missing := re.search(r"Missing mandatory value: (\S+)", str(cause))
        ):
            return f"{missing[1]} has no value; give one with {missing[1]}=..."
        if isinstance(cause, OSError) and cause.errno in _DISK_FAULTS:
            where = cause.filename or "A file"
            return f"{where} can't be used: {cause.strerror}. Check the path, the rights and the room on the disk."
    if isinstance(error, HydraException) and not isinstance(error, InstantiationException):
        return _composition_mistake(error, conf)
    if isinstance(error, yaml.YAMLError):
        return f"A configuration file is not valid YAML: {_sentence(str(error))}"
    if isinstance(error, ValueError):
        cures = (cure for start, cure in _HYDRA_VALUE_ERRORS.items() if str(error).startswith(start))
        return next((f"{_sentence(str(error))} {cure}" for cure in cures), None)
    return None


def _as_rank(arguments: list[str]) -> list[str]:
    """The command line of one of several processes: only process 0 has a folder and a log of its own.

    Raises:
        InputError: It is a sweep.
    """
    rank = own_rank()
    if rank.count > 1 and ({"-m", "--multirun"} & set(arguments) or "hydra.mode=MULTIRUN" in arguments):
        raise InputError(
            "A sweep (-m) can't be started by torchrun or srun as a whole; leave them away: with trainer.devices=N "
            "each of its jobs starts processes of its own."
        )
    return arguments if rank.index == 0 else [*arguments, *_WITHOUT_FOLDER]


def _split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part the flags, with their values, from the overrides; what follows `--` is override."""
    flags: list[str] = []
    overrides: list[str] = []
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        following = arguments[position + 1] if position + 1 < len(arguments) else None
        position += 1
        if argument == "--dry-run":
            overrides.append("dry_run=true")
            continue
        if argument == "--":
            return flags, [*overrides, *arguments[position - 1 :]]
        if not argument.startswith("-"):
            overrides.append(argument)
        elif _takes_value(argument, following):
            flags += [argument, str(following)]
            position += 1
        else:
            # A bare --info would take the first override, once that follows it, for its value.
            flags.append("--info=all" if argument in _INFO_FLAGS else argument)
    return flags, overrides


def _takes_value(flag: str, following: str | None) -> bool:
    if following is None or following.startswith("-"):
        return False
    if flag in _INFO_FLAGS:
        return following in _INFO_VALUES
    # argparse also takes the beginning of a long flag (--config-d conf).
    shortened = len(flag) > 3 and any(name.startswith(flag) for name in _FLAGS_WITH_VALUE)
    return flag in _FLAGS_WITH_VALUE or shortened


def _canonical_override(override: str, conf: Path) -> str:
    match = _OVERRIDE.fullmatch(override)
    if match is None or (match["value"] is None and match["prefix"] != "~"):
        return override
    value: str | None = match["value"]
    key = _group_of(match["key"], value, conf)
    if value is not None and not key.startswith("hydra."):
        value = _canonical_value(key, value, conf)
    if value is not None and value.startswith("~/"):
        value = os.path.expanduser(value)
    return f"{match['prefix']}{key}{match['package'] or ''}" + ("" if value is None else f"={value}")


def _with_swept_groups(overrides: list[str], conf: Path) -> list[str]:
    """Keys below a group that is swept become sweeps themselves."""
    parted = [override.partition("=") for override in overrides]
    swept = {
        key for key, _, value in parted if _COMMA_OUTSIDE_PARENTHESES.search(value) and _options(key, conf)
    }  # fmt: skip
    return [
        f"{key}=choice({value})" if key.split(".")[0] in swept and "." in key and _ONE_VALUE.fullmatch(value) else whole
        for whole, (key, _, value) in zip(overrides, parted, strict=True)
    ]


def _group_of(key: str, value: str | None, conf: Path) -> str:
    group = _DOTTED_GROUPS.get(key)
    if group is not None:
        named = value is None or all(_NAME.fullmatch(name.strip()) for name in value.split(","))
        return group if named and _options(group, conf) else key
    first, dot, others = key.partition(".")
    return _GROUP_ALIASES.get(first, first) + dot + others


def _canonical_value(key: str, value: str, conf: Path) -> str:
    numeric = _is_numeric(key, conf)
    if not numeric and not _SPAN.search(value):
        return value
    numbers = _numbers(value)
    if not numbers:
        return value
    if numeric:
        numbers = [f"'{number}'" if number.isdigit() else number for number in numbers]
    return ",".join(numbers)


def _numbers(value: str) -> list[str] | None:
    """Expand `0,2..4,range(6,9)` to its numbers, quoted ones as they came; None for anything else."""
    numbers: list[str] = []
    for item in map(str.strip, _COMMA_OUTSIDE_PARENTHESES.split(value)):
        if _NUMBER.fullmatch(item):
            numbers.append(item)
        elif match := _SPAN.fullmatch(item):
            first, last = int(match[1]), int(match[2])
            step = 1 if first <= last else -1
            numbers += _listed(range(first, last + step, step), item)
        elif match := _RANGE.fullmatch(item):
            numbers += _listed(range(int(match[1] or 0), int(match[2]), int(match[3] or 1)), item)
        else:
            return None
    return numbers


def _listed(numbers: range, text: str) -> Iterable[str]:
    if len(numbers) > _LONGEST_SWEEP:
        raise InputError(f"{text} stands for {len(numbers)} runs; give a range of at most {_LONGEST_SWEEP}.")
    return map(str, numbers)


def _is_numeric(group: str, conf: Path) -> bool:
    options = _options(group, conf)
    return bool(options) and all(re.fullmatch("[0-9]+", option) for option in options)


def _options(group: str, conf: Path) -> list[str]:
    # A key may be longer than a file name, or be an absolute path: neither is a group.
    if not re.fullmatch(r"\w{1,100}(/\w{1,100})*", group):
        return []
    return sorted(path.stem for path in (conf / group).glob("*.yaml"))


def _export_environment(root: Path) -> None:
    # Both stand in conf/config.yaml: where outputs go, and what tells apart runs started in the same second.
    os.environ["ACTIVESSF_ROOT"] = str(root)
    os.environ["ACTIVESSF_PROCESS"] = str(os.getpid())
    # Launchers start processes with a working directory and a script folder of their own.
    paths = os.environ.get("PYTHONPATH", "")
    if str(root) not in paths.split(os.pathsep):
        os.environ["PYTHONPATH"] = f"{root}{os.pathsep}{paths}" if paths else str(root)


@contextmanager
def _mistakes_reported(conf: Path) -> Iterator[None]:
    """End Hydra's runs by our sentence where `mistake` has one; all other errors Hydra prints in its way."""
    # Hydra has no public place for this. Where a later release has no such function its own message is printed.
    original = getattr(hydra_internals, "run_and_report", None)
    if original is None or _full_errors():
        yield
        return

    def run_and_report(function: Callable[[], Any]) -> Any:
        def call() -> Any:
            try:
                return function()
            except Exception as error:
                if (sweep := sweep_of_this_process()) is not None and sweep.failed:
                    # Each failed job has said what was wrong, and the summary will.
                    raise SystemExit(exit_status(sweep, MISTAKE_STATUS)) from error
                if isinstance(error, JobFailed):
                    print(f"error: {error}", file=sys.stderr)
                    raise SystemExit(error.status) from error
                sentence = mistake(error, conf)
                if sentence is None:
                    raise
                _fail(sentence, error)

        return original(call)

    hydra_internals.run_and_report = run_and_report  # type: ignore[assignment]
    try:
        yield
    finally:
        hydra_internals.run_and_report = original


@contextmanager
def _warnings_told() -> Iterator[None]:
    """Tell a `UserWarning` as a sentence, without the place in the code; other kinds stay as they are."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
            if category is UserWarning:
                logging.getLogger(__name__).warning("warning: %s", message)
            else:
                shown(message, category, *place, **options)

        warnings.showwarning = show
        yield


def _full_errors() -> bool:
    return os.environ.get("HYDRA_FULL_ERROR") == "1"


def _fail(sentence: str, error: BaseException) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(MISTAKE_STATUS) from error


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that a sweep can still say what is missing."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(TERMINATED_STATUS)

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _refuse_a_sweep_as_one_run() -> None:
    if not HydraConfig.initialized() or in_sweep():
        return
    params = HydraConfig.get().sweeper.get("params")
    if params:
        raise InputError(
            f"This configuration is a sweep over {', '.join(map(str, params))}; add -m to run it whole, as in: "
            "python train.py experiment=demo -m."
        )


def in_sweep() -> bool:
    """Whether this job is one of a sweep (-m), in this process or one that was started for the job."""
    return job_number() is not None


def _sweeps_here() -> bool:
    """Whether other jobs of the sweep may follow in this process."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _tell_failed_job(sentence: str | None) -> None:
    """Print the error that is being handled: at the end of a sweep Hydra shows that of the first failed job only."""
    job = _job_in_words()
    if sentence is not None:
        print(f"error in {job}: {sentence}", file=sys.stderr, flush=True)
    else:
        print(f"error in {job}:\n{traceback.format_exc()}", file=sys.stderr, flush=True)


def _job_in_words() -> str:
    return f"job {HydraConfig.get().job.num} ({' '.join(HydraConfig.get().overrides.task)})"


def _exit_as_signalled(error: SystemExit) -> None:
    """Give Lightning's ways of ending on a signal the exit status that shells and schedulers expect."""
    # By name, so that Lightning needn't be imported. It is a SystemExit without a status, which means success.
    if type(error).__name__ == "SIGTERMException":
        raise SystemExit(TERMINATED_STATUS) from error
    if isinstance(error.__context__, KeyboardInterrupt):
        raise SystemExit(INTERRUPTED_STATUS) from error


def _composition_mistake(error: HydraException, conf: Path) -> str:
    message = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file == _SUBMITIT:
        return "hydra/launcher=slurm needs submitit; install it: pip install -e '.[slurm]'."
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"{group} has no option {name}; its options are {', '.join(error.options)}."
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    if match := re.match(
        r"(?:Ambiguous value for argument|Sweep parameters) '([^=]*)=(.*?)'(?:\n| requires)", message, re.S
    ):
        return f"{match[1]} has several values ({match[2].strip()}); add -m to run one job for each."
    if match := re.match(r"Could not append to config. An item is already at '([^']+)'", message):
        return f"The key {match[1]} is there already; leave away the + before it."
    if match := re.search(r"[Cc]ould not override '([^']+)'|config group '([^']+)' does not", message):
        return _unknown_key(match[1] or match[2], error.__cause__, conf)
    cause = f" {error.__cause__}" if isinstance(error.__cause__, OmegaConfBaseException) else ""
    return _sentence(message.split("\nConfig search path:")[0] + cause)


def _unreadable(override: str) -> str:
    key, equals, value = override.partition("=")
    if not equals:
        return f"The argument {override} can't be read; write key=value."
    if re.search("['\"]", value):
        return f"The value of {key} can't be read: {value}; check its quotes and brackets."
    return f"The value of {key} can't be read: {value}; put it into quotes twice, '{key}=\"{value}\"'."


def _unknown_key(key: str, cause: BaseException | None, conf: Path) -> str:
    # For a.b.c this is a.b where there is no b.
    key = getattr(cause, "full_key", None) or key
    parent, dot, name = key.rpartition(".")
    node = getattr(cause, "parent_node", None)
    names = [str(sibling) for sibling in node] if isinstance(node, DictConfig) else []
    if not parent:
        folders = (path for path in conf.rglob("*") if path.is_dir() and any(path.glob("*.yaml")))
        names += [*(folder.relative_to(conf).as_posix() for folder in folders), *_GROUP_ALIASES]
    known = sorted(set(names))
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        return f"There is no key {key}; did you mean {' or '.join(f'{parent}{dot}{other}' for other in near)}?"
    if known:
        return f"There is no key {key}; {parent or 'the configuration'} has {', '.join(known)}."
    return f"There is no key {key}; --cfg job shows all keys."


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _sentence(text: str) -> str:
    """Put a message of several lines on one, with a full stop."""
    return " ".join(text.split()).rstrip(".") + "."
