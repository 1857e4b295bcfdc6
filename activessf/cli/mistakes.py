"""What a user did wrong, in a sentence or two, and the end of a run by it."""

from __future__ import annotations

import difflib
import errno
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import yaml
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from activessf.cli.spelling import GROUP_ALIASES
from activessf.configuration import CONF
from activessf.errors import InputError
from activessf.exits import MISTAKE_STATUS

# What paths and disks are to blame for, whoever met it.
_DISK_FAULTS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.ENAMETOOLONG, errno.EISDIR),
)

_SUBMITIT = "hydra/launcher/submitit_slurm"  # what conf/hydra/launcher/slurm.yaml builds on

# Hydra raises these as plain ValueErrors; others of that type are ours or a library's and keep their traceback.
_HYDRA_VALUE_ERRORS = {
    "Config group override": "Give the name of an option; a number needs quotes, as in \"group='2'\".",
    "Unsupported item value in defaults": "A number in the defaults list of a configuration file needs quotes.",
    "Only one of --run": "Leave all but one away.",
    "The --resolve flag": "Add --cfg job.",
}


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


def fail(sentence: str, error: BaseException) -> NoReturn:
    """End the run by a sentence on stderr and the exit status of a mistake."""
    print(f"error: {sentence}", file=sys.stderr)
    raise SystemExit(MISTAKE_STATUS) from error


def full_errors() -> bool:
    """Whether tracebacks of mistakes are asked for, as of Hydra's own."""
    return os.environ.get("HYDRA_FULL_ERROR") == "1"


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
        names += [*(folder.relative_to(conf).as_posix() for folder in folders), *GROUP_ALIASES]
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
