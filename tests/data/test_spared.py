"""A loader's worker among the signals that all processes of a job get."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A parent with a child that does what a worker does; it says the child's number, and tells how the child has ended.
PARENT = """
import os, signal, sys, time
from activessf.data.spared import leave_signals_to_the_training
child = os.fork()
if not child:
    leave_signals_to_the_training(0)
    print(os.getpid(), flush=True)
    time.sleep(60)
    os._exit(9)
sys.stdin.readline()
time.sleep(0.5)
gone = os.waitpid(child, os.WNOHANG)[0]
os.kill(child, signal.SIGTERM)
print("before" if gone else "by its parent", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="the system does not tell who sends a signal")
def test_a_worker_outlives_signals_of_others_and_ends_when_its_parent_says_so():
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert parent.stdin is not None and parent.stdout is not None
    child = int(parent.stdout.readline())
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM, signal.SIGUSR2):
        os.kill(child, number)
    said, _ = parent.communicate("go on\n", timeout=60)
    assert said == "by its parent 0\n"
