import os
import signal

import pytest

from activessf.exits import leaving_on_sigterm


def test_sigterm_leaves_the_block_and_the_handler_before_is_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ending, leaving_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert ending.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before
