import warnings
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import assert_is_drawn

from activessf.evaluation.figures.style import (
    SERIES,
    class_labels,
    colours,
    drawing,
    rare_first,
    shortened,
    width_of,
    wrapped,
)  # fmt: skip


def test_a_figure_is_written_as_png_and_as_pdf_with_its_fonts(tmp_path: Path) -> None:
    with drawing(tmp_path / "v1.2 figure.png", 3, 2) as figure:
        figure.subplots().set_title("title")
    assert {path.name for path in tmp_path.iterdir()} == {"v1.2 figure.png", "v1.2 figure.pdf"}
    assert_is_drawn(tmp_path / "v1.2 figure.png")


def test_the_same_drawing_gives_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with drawing(tmp_path / f"{name}.png", 3, 2) as figure:
            figure.subplots().plot([1, 2], label="x")
    for kind in ("png", "pdf"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_a_drawing_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), drawing(tmp_path / "a.png", 3, 2):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_dollars_and_backslashes_are_letters(tmp_path: Path) -> None:
    with drawing(tmp_path / "a.png", 5, 3) as figure:
        figure.subplots()
        texts = [figure.text(0.1, 0.3 * row, name) for row, name in enumerate(("$a$", r"$\frac{$", r"a\$b", "a_b^c"))]
        assert not any(text.get_parse_math() for text in texts)
    assert_is_drawn(tmp_path / "a.png")


def test_letters_that_no_font_has_are_told_once(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with drawing(tmp_path / "a.png", 3, 2) as figure:
            figure.text(0.1, 0.1, "cell \ue000\ue001 \ue000")
            warnings.warn("something else", stacklevel=1)
    messages = [str(item.message) for item in caught]
    assert len(messages) == 2 and "something else" in messages
    assert any("the letters \ue000\ue001 of class names" in message for message in messages)


@settings(deadline=None, max_examples=60)
@given(st.text(), st.integers(5, 40))
def test_shortened_names_fit_and_short_ones_stay(text: str, longest: int) -> None:
    short = shortened(text, longest)
    assert width_of(short) <= longest
    words = " ".join(text.split())
    if width_of(words) <= longest:
        assert short == words
    else:
        left, right = short.split("\N{HORIZONTAL ELLIPSIS}")[0], short.split("\N{HORIZONTAL ELLIPSIS}")[-1]
        assert words.startswith(left) and words.endswith(right)


def test_letters_of_east_asia_count_as_two() -> None:
    assert width_of("ab\u7d30\u80de") == 6
    assert width_of(shortened("\u7d30" * 50, 20)) <= 20


def test_a_long_title_is_wrapped_even_without_spaces() -> None:
    lines = wrapped("x" * 300, 40).split("\n")
    assert len(lines) == 3 and max(map(len, lines)) <= 40


def test_rare_classes_come_first_and_common_ones_last() -> None:
    assert rare_first(["c", "a", "r", "b", "q"], {"r", "q"}, {"c"}) == ["r", "q", "a", "b", "c"]
    assert class_labels(["r", "c", "a"], {"r"}, {"c"}) == ["r\N{DAGGER}", "c*", "a"]


def test_the_mark_of_a_long_name_is_kept() -> None:
    label = class_labels(["x" * 100], {"x" * 100}, set())[0]
    assert label.endswith("\N{DAGGER}") and width_of(label) <= 21


def test_a_run_alone_is_blue_and_a_baseline_grey() -> None:
    assert colours(1) == ("#0072B2",)
    assert colours(2) == ("#8C8C8C", "#0072B2")
    assert len(set(colours(len(SERIES)))) == 7
