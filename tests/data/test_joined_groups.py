import warnings

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activessf.data.folds import assign_folds
from activessf.data.joined_groups import check_joined, join_groups, joined_members, joined_sentence
from activessf.errors import InputError


def cells_of(groups: list[str], images: list[str] | None = None) -> pd.DataFrame:
    images = [f"{number:03d}.png" for number in range(len(groups))] if images is None else images
    crops = [f"crops/{number:03d}.png" for number in range(len(groups))]
    return pd.DataFrame({"image": images, "group": groups, "crop": crops})


def duplicates_of(sets: list[list[int]]) -> pd.DataFrame:
    """As `find_duplicates` gives them: the rows of cells that show the same, set by set."""
    rows = [(f"crops/{row:03d}.png", number) for number, members in enumerate(sets) for row in members]
    return pd.DataFrame(rows, columns=["crop", "set"]).assign(like="", bits=0, correlation=1.0)


def joined(cells: pd.DataFrame, sets: list[list[int]]) -> pd.DataFrame:
    return cells.assign(joined_group=join_groups(cells, duplicates_of(sets)))


def test_groups_of_like_cells_take_the_name_of_the_first_and_a_third_joins_them_all() -> None:
    cells = joined(cells_of(["d", "b", "c", "a", "e", "c", "b", "d"]), [[0, 1], [3, 6], [2, 5]])
    # d with b by the first set, b with a by the second; the third lies within c.
    assert cells["joined_group"].tolist() == ["a", "a", "c", "a", "e", "c", "a", "a"]
    assert joined_members(cells) == [["a", "b", "d"]]


def test_where_nothing_is_joined_the_groups_are_what_they_were() -> None:
    for groups in (["p1", "p1", "p2", "p3"], [""] * 4):
        for sets in ([], [[0, 1]] if groups[0] else []):
            cells = joined(cells_of(groups), sets)
            assert cells["joined_group"].tolist() == groups and joined_members(cells) == []
            assert joined_sentence(cells) == ""
            check_joined(cells, 0.01)


def test_cells_without_groups_are_joined_one_by_one() -> None:
    cells = joined(cells_of([""] * 5), [[1, 4], [0, 2]])
    assert cells["joined_group"].tolist() == ["000.png", "001.png", "000.png", "003.png", "001.png"]
    assert joined_sentence(cells) == (
        "4 cells show the same as another one, exactly or nearly, and are kept together in folds as 2 "
        "('000.png' with '002.png'; '001.png' with '004.png'); data.join_duplicates=false leaves them apart."
    )


def test_the_sentence_names_the_first_few() -> None:
    cells = joined(cells_of([f"g{row}" for row in range(10)]), [[row, row + 5] for row in range(5)])
    sentence = joined_sentence(cells)
    assert sentence.startswith("10 groups show the same as another one, exactly or nearly, and are kept together ")
    assert " in folds as 5 ('g0' with 'g5'; " in sentence
    assert "'g2' with 'g7'; and 2 more)" in sentence and "g3" not in sentence


def test_a_chain_that_holds_too_many_of_the_cells_is_refused_with_the_cure() -> None:
    # b, c, d and e hold 6 of 15 cells, each like a cell of the next; the nine of a are a group of the user's own.
    cells = joined(cells_of(["a"] * 9 + ["b", "c", "c", "d", "d", "e"]), [[9, 10], [11, 12], [13, 14]])
    check_joined(cells, 0.4)
    with pytest.raises(InputError) as refusal:
        check_joined(cells, 0.39)
    told = str(refusal.value)
    assert told.startswith("4 groups that show the same as one another ('b' with 'c' with 'd' and 1 more)")
    assert "one group of 40.0 % of all cells" in told and "data.largest_joined_group=0.39" in told
    assert "data.join_duplicates=false" in told


def naive_parts(groups: list[str], sets: list[list[int]]) -> list[str]:
    """Groups merged pair by pair until nothing changes."""
    names = list(groups)
    changed = True
    while changed:
        changed = False
        for members in sets:
            for first in members:
                for second in members:
                    low, high = sorted((names[first], names[second]))
                    if low != high:
                        names = [low if name == high else name for name in names]
                        changed = True
    return names


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 14)), min_size=30, max_size=60),
    st.lists(st.lists(st.integers(0, 29), min_size=2, max_size=3, unique=True), max_size=4),
    st.booleans(),
    st.integers(0, 3),
)
def test_no_set_spans_folds_whatever_the_groups_and_the_order_of_the_rows(rows, drawn, grouped, seed) -> None:
    taken: set[int] = set()
    sets = []
    for members in drawn:  # a cell is in one set
        own = [row for row in members if row not in taken]
        taken.update(own)
        sets += [own] if len(own) > 1 else []
    groups = [f"g{number:02d}" if grouped else "" for _, number in rows]
    cells = cells_of(groups).assign(label=[label for label, _ in rows], x=0, y=0, width=9, height=9, split="")
    cells = joined(cells, sets)
    expected = naive_parts([group or image for group, image in zip(groups, cells["image"], strict=True)], sets)
    assert cells["joined_group"].tolist() == (expected if grouped or sets else groups)
    shuffled = cells.drop(columns="joined_group").sample(frac=1, random_state=seed)
    pd.testing.assert_series_equal(join_groups(shuffled, duplicates_of(sets)).sort_index(), cells["joined_group"],
                                   check_names=False)  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            fold = assign_folds(cells, 3, seed).set_index("crop")["fold"]
        except InputError:
            return  # too uneven for three folds: said so
    for members in sets:
        assert fold.loc[[f"crops/{row:03d}.png" for row in members]].nunique() == 1
    if grouped:
        assert fold.loc[cells["crop"]].groupby(groups).nunique().max() == 1
