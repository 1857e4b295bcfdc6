import os
from pathlib import Path

import numpy as np
import pytest

from activessf.data.images import read_image
from activessf.regions.boxes import Found, Region, Rejected
from activessf.regions.store import SlideResult, SlideStore, clear_leftovers

CROPS = [np.full((4, 5, 3), value, np.uint8) for value in (10, 200)]
RESULT = SlideResult(
    640,
    480,
    0.25,
    Found(
        [Region(1, 2, 5, 4, 0.7, 14), Region(9, 9, 5, 4, 1 / 3, 7)],
        [Rejected(Region(0, 0, 1, 9, 0.5, 4), "too small")],
        3,
    ),
)


def test_a_result_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    store = SlideStore(tmp_path, "settings")
    assert store.load("abcd") is None
    store.save("abcd", RESULT, iter(CROPS))
    assert store.load("abcd") == RESULT
    for index, crop in enumerate(CROPS):
        np.testing.assert_array_equal(read_image(store.crop("abcd", index)), crop)
    assert SlideStore(tmp_path, "others").load("abcd") is None


def test_saving_twice_keeps_the_first(tmp_path: Path) -> None:
    store = SlideStore(tmp_path, "settings")
    store.save("abcd", RESULT, CROPS)
    store.save("abcd", RESULT, CROPS)
    assert store.load("abcd") == RESULT and [path.name for path in (tmp_path / "settings/ab").iterdir()] == ["abcd"]


@pytest.mark.parametrize("damage", ["cut json", "empty json", "other json", "short crop", "no crop"])
def test_a_damaged_result_is_taken_away(tmp_path: Path, damage: str) -> None:
    store = SlideStore(tmp_path, "settings")
    store.save("abcd", RESULT, CROPS)
    folder = store.folder("abcd")
    if damage.endswith("json"):
        text = {"cut": (folder / "slide.json").read_text()[:30], "empty": "", "other": "[1]"}[damage.split()[0]]
        (folder / "slide.json").write_text(text)
    elif damage == "no crop":
        (folder / "0001.png").unlink()
    else:
        (folder / "0001.png").write_bytes(b"")
    assert store.load("abcd") is None and not folder.exists()
    store.save("abcd", RESULT, CROPS)
    assert store.load("abcd") == RESULT


def test_a_failed_save_leaves_nothing(tmp_path: Path) -> None:
    def crops():
        yield CROPS[0]
        raise ValueError("the slide is damaged here")

    store = SlideStore(tmp_path, "settings")
    with pytest.raises(ValueError, match="damaged here"):
        store.save("abcd", RESULT, crops())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_old_leftovers_are_cleared_and_young_ones_kept(tmp_path: Path) -> None:
    old, young = tmp_path / "settings/ab/.abcd.1", tmp_path / "settings/ab/.abcd.2"
    old.mkdir(parents=True)
    young.mkdir()
    os.utime(old, (0, 0))
    SlideStore(tmp_path, "settings").save("abcd", RESULT, CROPS)
    clear_leftovers(tmp_path)
    assert not old.exists() and young.exists() and SlideStore(tmp_path, "settings").load("abcd") == RESULT
