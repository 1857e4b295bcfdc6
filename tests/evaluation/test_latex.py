import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activessf.evaluation.latex import latex_table, latex_text

HOSTILE = [
    "\\input{/etc/passwd}",
    "a & b",
    "50 %",
    "$x$",
    "c_1^2",
    "{open",
    "close}}",
    "~#",
    "[h]",
    "\x1b[1m\n",
    "细胞",
]
# What may follow a backslash here: the commands of this module and escaped characters.
COMMANDS = {
    *("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar", "textquotedblright"),
    *("textasciigrave", "pm", "dagger", "ddagger", "downarrow", "checkmark"),
}


def without_escapes(text: str) -> str:
    """The text without commands and escaped characters: what is left of special ones is live."""
    assert set(re.findall(r"\\([A-Za-z]+)", text)) <= COMMANDS
    return re.sub(r"\\([A-Za-z]+|[{}$&#%_])", "", text)


def assert_balanced(text: str) -> None:
    depth = 0
    for character in re.sub(r"\\[{}]", "", text):
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert depth == 0


@given(st.one_of(st.text(), st.sampled_from(HOSTILE), st.text('\\{}$&#%_~^<>|"`[]*-±†‡↓✓ 1')))
def test_no_text_can_hold_a_live_command(text: str) -> None:
    escaped = latex_text(text)
    live = without_escapes(escaped)
    assert_balanced(escaped)
    assert not re.search(r"[\\&#%_~<>|\"`]", live) and "--" not in escaped
    # Math only round the marks of this module; brackets only within braces.
    assert re.fullmatch(r"(?s)[^$]*(\$(\^\{\*?\}|-|)\$[^$]*)*", live)
    assert "[" not in live.replace("{[}", "") and "^" not in re.sub(r"\$\^\{\*?\}\$", "", live)
    assert "\n" not in escaped and all(character.isprintable() for character in escaped)


def test_marks_and_signs_are_written_in_math() -> None:
    assert latex_text("80.36 ± 1.03 **↓") == r"80.36 $\pm$ 1.03 $^{*}$$^{*}$$\downarrow$"
    assert latex_text("CA-MK†") == r"CA-MK$^{\dagger}$" and latex_text("[-1.20, +3]") == "{[}$-$1.20, +3{]}"
    assert latex_text("a_b & 5 %") == r"a\_b \& 5 \%"


def test_the_table_has_rules_a_caption_and_the_bold_cell() -> None:
    frame = pd.DataFrame({"Run": ["mae + none", "mae + a_b"], "G-MK*": ["1.00", "2.00 *"]})
    text = latex_table(frame, [(1, 1)], "Overall: demo_1", "demo-overall", ["Mean ± deviation."])
    lines = text.splitlines()
    assert lines[1:6] == [
        r"\begin{table*}",
        r"\centering",
        r"\caption{Overall: demo\_1}",
        r"\label{tab:demo-overall}",
        r"\resizebox{\ifdim\width>\textwidth \textwidth\else\width\fi}{!}{%",
    ]
    assert lines[6:12] == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"Run & G-MK$^{*}$ \\",
        r"\midrule",
        r"mae + none & 1.00 \\",
        r"mae + a\_b & \textbf{2.00 $^{*}$} \\",
    ]
    assert r"\bottomrule" in lines and r"\par\footnotesize Mean $\pm$ deviation." in lines
    assert_balanced(text)


@pytest.mark.parametrize("name", HOSTILE)
def test_every_row_has_as_many_cells_as_the_header_whatever_they_hold(name: str) -> None:
    text = latex_table(pd.DataFrame({name: [name, "1"], "b": ["2", name]}), [(0, 0)], name, "x", [name])
    assert_balanced(text)
    rows = [line for line in text.splitlines() if line.endswith(r" \\")]
    assert len(rows) == 3 and all(len(re.findall(r"(?<!\\)&", row)) == 1 for row in rows)
    assert text.count(r"\begin{") == text.count(r"\end{") == 2
