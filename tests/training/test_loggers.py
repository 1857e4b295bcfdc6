import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from pytorch_lightning.loggers import Logger, WandbLogger
from wandb_offline import offline_runs

from activessf.errors import InputError
from activessf.training import loggers
from activessf.training.loggers import no_logger, wandb_logger

CONFIG = {"recipe": {"name": "quick", "lr": 0.001}, "fold": 3}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A user without login, key or wishes, in a home of their own; no run stays open."""
    for name in [name for name in os.environ if name.startswith("WANDB_")] + ["NETRC"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    wandb.teardown()  # W&B reads the environment once a process
    yield
    wandb.finish()
    wandb.teardown()


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The modes in which runs would have been started, without starting any."""
    modes: list[str] = []

    class Recorder:
        def __init__(self, *_: Any, mode: str, **__: Any) -> None:
            modes.append(mode)

        experiment = None

    monkeypatch.setattr(loggers, "WandbLogger", Recorder)
    return modes


def start(directory: Path, mode: str | None = None, name: str = "a run") -> Logger:
    (logger,) = wandb_logger("activessf", mode, name=name, group="a group", directory=directory, config=CONFIG)
    return logger


# Which mode


def test_without_login_key_or_wish_a_run_is_offline(chosen: list[str], tmp_path: Path) -> None:
    start(tmp_path / "out")
    assert chosen == ["offline"]


@pytest.mark.parametrize("mode", ["online", "offline", "disabled"])
def test_the_environment_decides_where_the_option_is_not_set(
    chosen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    start(tmp_path / "out")
    start(tmp_path / "out", "offline")
    assert chosen == [mode, "offline"]


def test_a_key_makes_runs_online(chosen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    start(tmp_path / "out")
    monkeypatch.setenv("WANDB_API_KEY", "")
    start(tmp_path / "out")
    assert chosen == ["online", "offline"]


def test_a_login_makes_runs_online(chosen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "home/.netrc"
    for content in (
        "machine api.wandb.ai login user password secret",
        "machine example.org login user password secret",
        "machine",
    ):
        netrc.write_text(content + "\n")
        start(tmp_path / "out")
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org:8080")
    netrc.rename(tmp_path / "elsewhere")
    monkeypatch.setenv("NETRC", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").write_text("machine wandb.example.org:8080 login user password secret\n")
    start(tmp_path / "out")
    assert chosen == ["online", "offline", "offline", "online"]


def test_a_mode_that_there_is_not_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="is nowhere; give online, offline or disabled"):
        start(tmp_path / "out", "nowhere")
    monkeypatch.setenv("WANDB_MODE", "elsewhere")
    with pytest.raises(InputError, match="is elsewhere; give online, offline or disabled"):
        start(tmp_path / "out")


def test_csv_alone_is_no_logger(tmp_path: Path) -> None:
    assert no_logger(name="a", group="b", directory=tmp_path / "out", config=CONFIG) == []
    assert not (tmp_path / "out").exists()


def test_two_jobs_of_one_process_are_two_offline_runs(tmp_path: Path) -> None:
    for fold in range(2):
        logger = start(tmp_path / "out", name=f"fold {fold}")
        assert isinstance(logger, WandbLogger) and logger.experiment.settings.mode == "offline"
        for step in range(3):
            logger.log_metrics({"train/loss": 10.0 * fold + step}, step)
        wandb.finish()
    runs = offline_runs(tmp_path / "out")
    assert sorted(runs) == ["fold 0", "fold 1"]
    for fold, run in enumerate(runs[name] for name in sorted(runs)):
        assert run["group"] == "a group" and run["project"] == "activessf"
        assert {name: run["config"][name] for name in CONFIG} == CONFIG
        assert [row["train/loss"] for row in run["history"]] == [10.0 * fold + step for step in range(3)]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["wandb"]


def test_nothing_is_written_where_wandb_is_disabled(tmp_path: Path) -> None:
    logger = start(tmp_path / "out", "disabled")
    logger.log_metrics({"train/loss": 1.0}, 0)
    wandb.finish()
    assert list((tmp_path / "out").rglob("*")) == []


def test_a_server_out_of_reach_makes_the_run_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as server:  # bound but not listening: nobody else gets the port, nobody answers
        server.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
        monkeypatch.setattr(loggers, "_INIT_SECONDS", 1)
        logger = start(tmp_path / "out")
        logger.log_metrics({"train/loss": 1.5}, 0)
        wandb.finish()
    assert "W&B can't be reached" in caplog.text and "this run is logged offline" in caplog.text
    histories = [run["history"] for run in offline_runs(tmp_path / "out").values()]
    assert [[row["train/loss"] for row in history] for history in histories] == [[1.5]]


def test_a_run_that_was_stopped_goes_on_and_the_next_one_is_another(tmp_path: Path) -> None:
    id_file, ids = tmp_path / "checkpoints" / "a.wandb_id", []
    for _ in range(2):
        (logger,) = wandb_logger(
            "activessf", "offline", name="a", group="b", directory=tmp_path / "out", config={}, id_file=id_file
        )
        assert isinstance(logger, WandbLogger)
        ids.append(logger.experiment.id)
        wandb.finish()
    assert ids[0] == ids[1] == id_file.read_text()
    id_file.unlink()
    for _ in range(2):
        (logger,) = wandb_logger("activessf", "offline", name="a", group="b", directory=tmp_path / "out", config={})
        assert isinstance(logger, WandbLogger)
        ids.append(logger.experiment.id)
        wandb.finish()
    assert len(set(ids)) == 3
