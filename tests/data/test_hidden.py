from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activessf.data.hidden import hide_labels
from activessf.data.source import Source
from activessf.errors import InputError

BOX = ["x", "y", "width", "height"]


def source(num_groups: int = 40, cells_a_group: int = 4, seed: int = 0) -> Source:
    rng = np.random.default_rng(seed)
    rows = [
        (f"slides/{group}.png", "common" if rng.random() < 0.8 else "rare", 10 * cell, 0, 8, 8, f"p{group}", "")
        for group in range(num_groups)
        for cell in range(cells_a_group)
    ]
    cells = pd.DataFrame(rows, columns=["image", "label", *BOX, "group", "split"])
    return Source(Path("."), cells, tuple(sorted(set(cells["image"]))), ("common", "rare"))


@given(st.integers(0, 19), st.integers(0, 1000))
def test_groups_are_hidden_whole_in_the_share_that_is_asked_for(parts: int, seed: int) -> None:
    given_source = source()
    told = hide_labels(given_source, parts / 20, seed)
    assert len(told.cells) == pytest.approx((1 - parts / 20) * 160, abs=12)
    hidden_groups = set(given_source.cells["group"]) - set(told.cells["group"])
    assert len(told.cells) == (~given_source.cells["group"].isin(hidden_groups)).sum()
    assert told.slides == given_source.slides


def test_every_class_loses_about_its_share() -> None:
    counts = source(200).cells["label"].value_counts()
    told = hide_labels(source(200), 0.5, 0).cells["label"].value_counts()
    assert (told / counts - 0.5).abs().max() < 0.06


def test_the_truth_is_what_was_known_before() -> None:
    told = hide_labels(source(), 0.5, 0)
    pd.testing.assert_frame_equal(told.truth, source().cells[["image", "label", *BOX]])
    more = replace(source(), truth=pd.DataFrame({"image": ["z"]}))
    assert hide_labels(more, 0.5, 0).truth is more.truth


def test_nothing_is_hidden_by_default_and_the_order_of_cells_is_no_matter() -> None:
    given_source = source()
    assert hide_labels(given_source, 0.0, 0) is given_source
    shuffled = replace(given_source, cells=given_source.cells.sample(frac=1, random_state=1))
    for share, seed in ((0.5, 3), *((0.9, seed) for seed in range(20))):
        found = [set(hide_labels(some, share, seed).cells["group"]) for some in (shuffled, given_source)]
        assert found[0] == found[1], (share, seed)


def test_a_class_that_would_lose_all_keeps_a_group() -> None:
    given_source = source()
    only = given_source.cells["group"] == "p7"
    alone = given_source.cells.assign(label=np.where(only, "rare", "common"))
    for seed in range(30):
        told = hide_labels(replace(given_source, cells=alone), 0.9, seed)
        assert (told.cells["label"] == "rare").any()


@pytest.mark.parametrize("share", [-0.1, 1, 2.0, "half", True, 0.02, 0.99])
def test_a_share_that_can_not_be_is_refused(share: object) -> None:
    with pytest.raises(InputError, match="hidden_labels=.* must be a share"):
        hide_labels(source(), share, 0)  # type: ignore[arg-type]


def test_cell_images_and_few_groups_are_refused() -> None:
    with pytest.raises(InputError, match="boxed cells"):
        hide_labels(replace(source(), cells=source().cells.assign(x=np.nan)), 0.5, 0)
    with pytest.raises(InputError, match="20 groups"):
        hide_labels(source(5), 0.5, 0)
    few = source(30, cells_a_group=1)
    rare = few.cells.assign(label=[f"class {number % 3}" for number in range(30)])
    with pytest.raises(InputError, match="a class of 20 cells at least; the largest has 10"):
        hide_labels(replace(few, cells=rare), 0.5, 0)
