import os
import signal

import pytest

from activessf.exits import leaving_on_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_leaves_the_block_and_the_handler_before_is_back_afterwards(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ending, leaving_on_signals():
        os.kill(os.getpid(), number)
        signal.pause()
    assert ending.value.code == 128 + number
    assert signal.getsignal(number) == before


def test_a_signal_that_someone_waits_for_stays_with_them() -> None:
    heard = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.append(number))
    try:
        with leaving_on_signals():
            os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]
