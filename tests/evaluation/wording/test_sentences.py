from typing import Any

import pytest

from activessf.evaluation.wording.sentences import (
    counted,
    duration,
    filled,
    first_filled,
    joined,
    listed,
    shown,
    spanned,
)


def test_a_sentence_that_lacks_a_setting_is_left_out() -> None:
    settings: dict[str, Any] = {"a.b": 0.004, "c": None, "d": [0.2, 1.0], "e": 7299}
    assert filled("rate {a.b}, {e} regions", settings) == "rate 0.004, 7,299 regions"
    assert filled("{d%} % of {a.b%} %", settings) == "20 to 100 % of 0.4 %"
    assert filled("{c} and {e}", settings) == "" == filled("{unknown} and {e}", settings)
    assert first_filled(("{c} epochs", "{e} steps"), settings) == "7,299 steps"
    assert filled("{e}", {"e": "{a.b}"}) == "{a.b}"  # what a setting holds is no place


@pytest.mark.parametrize(
    ("items", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_lists_read_as_in_a_text(items: list[str], text: str) -> None:
    assert listed(items) == text


def test_numbers_have_their_nouns() -> None:
    assert [counted(n, "fold") for n in (0, 1, 1234)] == ["0 folds", "1 fold", "1,234 folds"]
    assert spanned([211, 187.0, 200]) == "187 to 211" and spanned([200, 200]) == "200"
    assert [duration(s) for s in (1, 42.4, 720, 12_240)] == ["1 second", "42 seconds", "12 minutes", "3.4 hours"]
    assert [shown(v) for v in (True, 3, 0.05, 1e-6, [0.9, 0.95], "x")] == [
        "yes",
        "3",
        "0.05",
        "1e-6",
        "0.9 and 0.95",
        "x",
    ]
    assert joined("", "a.", "", "b.") == "a. b."
