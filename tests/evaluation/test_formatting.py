import pandas as pd

from activessf.evaluation.formatting import format_table, markdown_table


def test_columns_are_aligned() -> None:
    text = format_table(pd.DataFrame({"Run": ["a", "longer"], "Accuracy": ["1.00", "22.00"]}))
    assert text == "Run     Accuracy\n------  --------\na       1.00\nlonger  22.00"


def test_wide_characters_count_double_and_control_characters_are_shown_as_question_marks() -> None:
    lines = format_table(pd.DataFrame({"c": ["\u7d30\u80de", "\x1b[1m"], "n": ["1", "2"]})).splitlines()
    assert lines[2] == "\u7d30\u80de  1" and lines[3] == "?[1m  2"


def test_an_empty_table_still_has_its_header() -> None:
    assert format_table(pd.DataFrame(columns=["a", "b"])).splitlines()[0] == "a  b"


def test_markdown_is_escaped_and_bold_where_told() -> None:
    text = markdown_table(pd.DataFrame({"G-MK*": ["a|b", "<i>"], "n": ["1", "2 *"]}), bold=[(1, 1)])
    assert text == "| G-MK\\* | n |\n| --- | --- |\n| a\\|b | 1 |\n| \\<i\\> | **2 \\*** |\n"
