import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from activessf.errors import InputError
from activessf.regions.quality.drawing import INK, REJECTED
from activessf.selection.audit.page import write_page, write_tables
from activessf.selection.audit.projection import project
from activessf.selection.audit.sheets import draw_sheets

FACTS = {
    "data": "tiny", "selection": "activessf", "folder": "activessf-0", "fold": 2, "seed": 5, "among": {},
    "planted": "boxes",
    "test_cells": 3,
    "strategy": {"alpha": 0.5, "like": {"bounds": "cluster"}},
}  # fmt: skip
PLANTED = pd.DataFrame(
    [("b", True, 3, 1, 1 / 3, 0.5), ("a", False, 0, 0, np.nan, np.nan)],
    columns=["class", "rare", "planted", "kept", "recall", "right_prototype"],
)
LABELS = ["a", "a", "a", "b", "b", "b"]


class Page(HTMLParser):
    """Tables by id as lists of rows, pictures, links, headings and all text of a page; every tag must be closed."""

    VOID = {"meta", "img", "line", "rect"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.pictures: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.rows = self.tables.setdefault(str(values.get("id")), [])
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "img":
            self.pictures.append(str(values["src"]))
        if tag == "a":
            self.links.append(str(values["href"]))

    def handle_endtag(self, tag: str) -> None:
        assert tag in self.VOID or self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def written(case: Any, folder: Path, planted: pd.DataFrame | None = PLANTED, **changes: Any) -> Page:
    folder.mkdir()
    decided = case.decided(**changes)
    rng = np.random.default_rng(0)
    places = project(rng.normal(size=(6, 4)), rng.normal(size=(6, 4)), 0)
    write_tables(decided, planted, FACTS, folder)
    page = write_page(decided, LABELS, planted, places, FACTS, case.folder, folder, num_crops=4)
    return Page(page.read_text())


def test_the_page_holds_the_tables_and_every_picture_and_link_is_there(case: Any, tmp_path: Path) -> None:
    page = written(case, tmp_path / "out", truth=case.more_truth)
    assert page.tables["truth-table"][2] == ["b (rare)", "2", "1", "33.3", "50.0", "0.6667", "0", "0", "-"]
    assert page.tables["planted-table"][1:] == [["b (rare)", "3", "1", "33.3", "50.0"], ["a", "0", "0", "-", "-"]]
    assert page.tables["prototype-table"][1] == ["0", "a", "4", "75.0", "0.5", "2", "1", "3", "2", "66.7"]
    assert page.tables["mix-table"][2][:4] == ["b (rare)", "3", "50.0", "1"]
    assert "4 of 6 candidates kept (66.7 %)" in page.text and "Members: a 3, b 1." in page.text
    assert "like.bounds" in page.text and page.tags.count("svg") == 2
    assert page.pictures == ["map.png", "prototypes/000.png", "prototypes/001.png"]
    for link in [*page.pictures, *(link for link in page.links if not link.startswith("#"))]:
        assert (tmp_path / "out" / link).is_file(), link


def test_the_same_result_gives_the_same_page(case: Any, tmp_path: Path) -> None:
    written(case, tmp_path / "one")
    written(case, tmp_path / "two")
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(files) == 10
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)


def test_names_from_the_data_are_escaped(case: Any, tmp_path: Path) -> None:
    page = written(case, tmp_path / "out", names=("<script>alert(1)</script>", 'b" & $x_1^$'))
    assert "script" not in page.tags and "<script>alert(1)</script>" in page.text and 'b" & $x_1^$' in page.text


def test_a_selection_without_prototypes_truth_and_planted_cells_has_a_page(case: Any, tmp_path: Path) -> None:
    case.cells = case.cells.assign(image="elsewhere.png")
    decided = case.decided(bare=True, kept=[1] * 6)
    write_tables(decided, None, FACTS, tmp_path)
    text = write_page(decided, LABELS, None, pd.DataFrame(), FACTS, case.folder, tmp_path).read_text()
    page = Page(text)
    assert "The selection has no prototypes." in page.text and "There was no planted check" in page.text
    assert "nothing is known of their true classes" in page.text and "There is no map" in page.text
    assert page.pictures == [] and not (tmp_path / "planted.csv").exists()


def test_a_selection_that_drops_nothing_has_a_page(case: Any, tmp_path: Path) -> None:
    page = written(case, tmp_path / "out", kept=[1] * 6)
    assert "6 of 6 candidates kept (100.0 %)" in page.text and "prototypes/000.png" in page.pictures


def test_one_prototype_without_candidates_has_a_card_and_no_sheet(case: Any, tmp_path: Path) -> None:
    case.write()
    selection = pd.read_csv(case.folder / "selection.csv")
    decided = case.decided()
    decided.candidates["prototype"] = 0
    page = write_page(decided, LABELS, None, pd.DataFrame(), FACTS, case.folder, tmp_path).read_text()
    assert "No candidate is nearest to it." in page and not (tmp_path / "prototypes/001.png").exists()
    assert len(selection) == 6


def test_the_page_is_bounded_when_there_are_many_prototypes(case: Any, tmp_path: Path) -> None:
    decided = case.decided()
    many = pd.concat([decided.prototypes] * 60, ignore_index=True)
    many["prototype"] = range(120)
    decided = type(decided)(
        decided.candidates, many, np.concatenate([decided.composition] * 60), ["a", "b"], ["b"], decided.labeled
    )
    write_tables(decided, None, FACTS, tmp_path)
    page = Page(write_page(decided, LABELS, None, pd.DataFrame(), FACTS, case.folder, tmp_path).read_text())
    assert len(page.tables["prototype-table"]) == 41 and "40 of 120 are shown" in page.text
    assert len(pd.read_csv(tmp_path / "prototypes.csv")) == 120


def test_the_summary_file_holds_facts_and_figures(case: Any, tmp_path: Path) -> None:
    write_tables(case.decided(), PLANTED, FACTS, tmp_path)
    found = json.loads((tmp_path / "summary.json").read_text())
    assert found["fold"] == 2 and found["kept"] == 4 and found["classes"] == ["a", "b"] and found["rare"] == ["b"]
    assert found["rare_planted_recall"] == pytest.approx(1 / 3) and found["rare_new_recall"] is None


def test_a_sheet_has_the_threshold_between_near_and_far_and_marks_what_is_dropped(case: Any, tmp_path: Path) -> None:
    decided = case.decided()
    found = draw_sheets(decided, decided.prototypes, case.folder, tmp_path, num_crops=4)
    picture = np.asarray(Image.open(tmp_path / found[0]["file"]))

    def rows_of(colour: tuple[int, int, int], least: int) -> list[int]:
        return np.flatnonzero((picture == colour).all(axis=2).sum(axis=1) >= least).tolist()

    bar = rows_of(INK, picture.shape[1] // 2)
    # Candidates 0 and 1 are nearer than the threshold of prototype 0, candidate 2 is farther and dropped.
    assert max(rows_of((0, 200, 40), 3) + rows_of((40, 200, 40), 3)) < min(bar)
    assert min(rows_of((80, 200, 40), 3)) > max(bar) and min(rows_of(REJECTED, 3)) > max(bar)
    table = pd.read_csv(tmp_path / "contact_sheets.csv")
    assert table["crop"].tolist() == [f"crops/{number}.png" for number in (0, 1, 2, 3, 4, 5)]
    assert table["part"].tolist() == ["within", "within", "beyond", "within", "within", "beyond"]


def test_an_unreadable_crop_leaves_a_note(case: Any, tmp_path: Path) -> None:
    (case.folder / "crops" / "0.png").write_bytes(b"broken")
    decided = case.decided()
    assert set(draw_sheets(decided, decided.prototypes, case.folder, tmp_path, 4)) == {0, 1}


def test_too_few_crops_are_refused(case: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't have 1 crops"):
        write_page(case.decided(), LABELS, None, pd.DataFrame(), FACTS, case.folder, tmp_path, num_crops=1)
