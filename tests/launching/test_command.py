from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from activessf.launching import command as commands
from activessf.launching.command import job_command, job_number, jobs_at_a_time, quoted


def hydra_node(**changes):
    node = {
        "overrides": {
            "hydra": ["hydra/launcher=devices", "hydra.launcher.n_jobs=2", "+hydra.job.env_set.X=1",
                      "hydra.mode=MULTIRUN", "hydra.sweep.dir=x", "++hydra.sweeper.params.seed=1",
                      "hydra.verbose=true"],
            "task": ["ssl_method=mae", "fold='2'"],
        },
        "job": {"num": 4, "config_name": "config"},
        "runtime": {"config_sources": [{"path": "/app/conf", "provider": "main"},
                                       {"path": "/mine", "provider": "command-line"}]},
    }  # fmt: skip
    return OmegaConf.merge(OmegaConf.create(node), changes)


def test_a_job_is_a_command_without_what_is_the_sweeps(monkeypatch):
    monkeypatch.setenv("ACTIVESSF_SCRIPT", "/app/train.py")
    assert job_command(hydra_node(), Path("/out/a b/4"), "x=1")[1:] == [
        "/app/train.py", "--config-name", "config", "--config-dir", "/mine", "+hydra.job.env_set.X=1",
        "hydra.verbose=true", "ssl_method=mae", "fold='2'", 'hydra.run.dir="/out/a b/4"', "hydra.job.num=4", "x=1",
    ]  # fmt: skip


def test_a_single_run_has_no_number(monkeypatch):
    monkeypatch.setenv("ACTIVESSF_SCRIPT", "/app/train.py")
    single = hydra_node()
    single.job.num = "???"
    assert job_number(single) is None and job_number(hydra_node()) == 4 and job_number() is None
    assert not any("job.num" in word for word in job_command(single, Path("/out")))


@pytest.mark.parametrize(
    ("launcher", "environment", "expected"),
    [("hydra._internal.core_plugins.basic_launcher.BasicLauncher", {}, 1),
     ("hydra._internal.core_plugins.basic_launcher.BasicLauncher", {"ACTIVESSF_AT_A_TIME": "3"}, 3),
     ("hydra._internal.core_plugins.basic_launcher.BasicLauncher", {"ACTIVESSF_PART_OF": "python train.py -m"}, None),
     ("hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher", {}, None)],
)  # fmt: skip
def test_a_job_knows_how_many_run_beside_it_but_on_a_cluster(launcher, environment, expected, monkeypatch):
    for name in ("ACTIVESSF_AT_A_TIME", "ACTIVESSF_PART_OF"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(commands.HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(commands.HydraConfig, "get", lambda: hydra_node(launcher={"_target_": launcher}))
    assert jobs_at_a_time() == expected


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=30))
def test_any_folder_comes_through_the_command_line(text):
    folder = f"/out/{text}"
    (override,) = OverridesParser.create().parse_overrides([f"hydra.run.dir={quoted(folder)}"])
    value = override.value()
    assert OmegaConf.create({"dir": str(value)}).dir == folder


@pytest.mark.parametrize("text", ["${seed}", "a\\b", 'say "x"', "\\${now:%Y}", "x\\"])
def test_what_hydra_gives_a_meaning_is_taken_as_it_is(text):
    (override,) = OverridesParser.create().parse_overrides([f"dir={quoted(text)}"])
    assert OmegaConf.create({"seed": 3, "dir": override.value()}).dir == text
