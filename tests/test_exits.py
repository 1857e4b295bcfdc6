import os
import signal

import pytest

from activessf.errors import InputError
from activessf.exits import leaving_on_signals, telling_mistakes


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


def test_a_command_tells_a_mistake_in_a_sentence_and_leaves_other_errors_and_statuses_as_they_are(capsys) -> None:
    @telling_mistakes
    def divide(number: int, by: int = 1) -> int:
        """Divide."""
        if number < 0:
            raise InputError(f"{number} is below 0; give another.")
        return number // by

    assert divide(-3) == 2
    assert capsys.readouterr() == ("", "error: -3 is below 0; give another.\n")
    assert (divide(0), divide(6, by=2)) == (0, 3) and divide.__doc__ == "Divide."
    with pytest.raises(ZeroDivisionError):
        divide(1, by=0)
    assert capsys.readouterr() == ("", "")
