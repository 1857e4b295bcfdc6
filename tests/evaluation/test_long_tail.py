from hypothesis import given
from hypothesis import strategies as st

from activessf.evaluation.long_tail import long_tail


def test_marks_of_the_data_set_decide_where_there_are_any() -> None:
    parts = long_tail({"a": 5, "b": 100, "c": 50, "d": 7}, rare=["a"], common=["b"])
    assert (parts.head, parts.medium, parts.tail) == (("b",), ("c", "d"), ("a",))
    assert "rare ones the tail" in parts.rule


def test_without_marks_sorted_classes_are_cut_into_terciles() -> None:
    parts = long_tail({"a": 5, "b": 100, "c": 50, "d": 7, "e": 60, "f": 1, "g": 30, "none": 0}, rare=[], common=[])
    assert (parts.head, parts.medium, parts.tail) == (("b", "e"), ("c", "g", "d"), ("a", "f"))
    assert "terciles" in parts.rule


def test_two_classes_are_head_and_tail_and_one_is_the_head() -> None:
    two, one = long_tail({"a": 1, "b": 2}, [], []), long_tail({"a": 1}, [], [])
    assert (two.head, two.medium, two.tail) == (("b",), (), ("a",))
    assert (one.head, one.medium, one.tail) == (("a",), (), ())


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 20), max_size=13), st.booleans(), st.data())
def test_every_class_with_cells_is_in_one_part(counts: dict[str, int], marked: bool, data: st.DataObject) -> None:
    names = sorted(counts)
    rare = data.draw(st.sets(st.sampled_from(names))) if marked and names else set()
    common = data.draw(st.sets(st.sampled_from(names))) - rare if marked and names else set()
    parts = long_tail(counts, rare, common)
    together = [*parts.head, *parts.medium, *parts.tail]
    assert sorted(together) == sorted(name for name in counts if counts[name])
    if not any(name in rare or name in common for name in together):
        cells = [counts[name] for name in together]
        assert cells == sorted(cells, reverse=True) and len(parts.head) >= len(parts.tail)
        assert len(together) < 2 or len(parts.tail) == max(1, len(together) // 3)
