import pytest

from activessf.errors import InputError
from activessf.launching.ranks import ALONE, Rank, own_rank, say_as_torchrun, without_ranks

SRUN = {
    "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "5", "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1", "SLURM_STEP_NODELIST": "gpu[07-08],big1", "SLURM_JOB_ID": "4123", "SLURM_STEP_ID": "2",
}  # fmt: skip


def test_a_process_that_nobody_speaks_of_is_alone():
    assert own_rank({}) == ALONE == Rank(0, 1, 1)


def test_torchrun_says_who_one_is():
    said = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "LOCAL_RANK": "1"}
    assert own_rank(said) == Rank(5, 8, 4) and own_rank(said).num_nodes == 2


def test_srun_says_who_one_is():
    assert own_rank(SRUN) == Rank(5, 8, 4) and own_rank(SRUN).num_nodes == 2


def test_a_batch_script_or_a_shell_of_slurm_is_one_process():
    assert own_rank({"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_NODEID": "0"}) == ALONE
    assert own_rank(SRUN | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) == ALONE


def test_tasks_that_are_spread_unevenly_are_refused():
    with pytest.raises(InputError, match="7 tasks on 2 nodes"):
        own_rank(SRUN | {"SLURM_STEP_NUM_TASKS": "7"})


def test_srun_is_said_in_the_words_of_torchrun():
    environment = dict(SRUN)
    say_as_torchrun(environment)
    assert {name: value for name, value in environment.items() if name not in SRUN} == {
        "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "GROUP_RANK": "1",
        "MASTER_ADDR": "gpu07", "MASTER_PORT": str(15000 + (4123 * 7 + 2) % 10000),
    }  # fmt: skip
    assert own_rank(environment) == own_rank(SRUN)


def test_all_tasks_of_a_step_name_the_same_meeting_place():
    places = set()
    for task in range(8):
        environment = SRUN | {"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task % 4), "SLURM_NODEID": str(task // 4)}
        say_as_torchrun(environment)
        places.add((environment["MASTER_ADDR"], environment["MASTER_PORT"]))
    assert len(places) == 1


def test_what_torchrun_has_said_and_who_is_alone_stay():
    said = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "1"}
    for environment in (said, {}):
        before = dict(environment)
        say_as_torchrun(environment)
        assert environment == before


def test_a_process_without_ranks_is_alone_and_keeps_everything_else():
    environment = without_ranks(SRUN | {"RANK": "1", "WORLD_SIZE": "2", "PL_GLOBAL_SEED": "0", "HOME": "/home/me"})
    assert own_rank(environment) == ALONE
    assert environment["HOME"] == "/home/me" and environment["SLURM_JOB_ID"] == "4123"
    assert "PL_GLOBAL_SEED" not in environment
