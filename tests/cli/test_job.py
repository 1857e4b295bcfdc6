import json
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf
from program import Runner

from activessf.cli.job import run


def test_a_run_says_where_its_result_is(call: Runner, app: Path) -> None:
    done = call("selection.features=vit_small", "fold=4")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["ran mae 4 none", f"The result is in {app / 'outputs'}"]


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


def test_lightnings_end_on_sigterm_is_no_success() -> None:
    from pytorch_lightning.utilities.exceptions import SIGTERMException

    def terminated(config: DictConfig) -> Path:
        raise SIGTERMException

    with pytest.raises(SystemExit) as ending:
        run(terminated, OmegaConf.create())
    assert ending.value.code == 143
