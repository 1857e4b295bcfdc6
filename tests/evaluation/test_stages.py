"""Links from the report to what the stages have left on disk."""

import json
import os
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from activessf.evaluation.report import write_report
from activessf.evaluation.runs import collect_runs
from activessf.evaluation.stages import audit_page, region_page, region_summary, relative_link, stage_folder

Write = Callable[..., Any]
STAGES = {"cells": "demo-0", "regions": "demo-1", "selection": "activessf-2"}


class Links(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [str(value) for name, value in attrs if tag == "a" and name == "href"]


def record(run: Path, stages: Any, folds: int = 1) -> None:
    for fold in range(folds):
        path = run / f"fold_{fold}" / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"stages": stages}))


def put(path: Path, text: str = "", changed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (1_700_000_000 + changed,) * 2)
    return path


@pytest.fixture
def run(write_run: Write) -> Path:
    made: Path = write_run("mae-1", folds=range(3), counts={"a": 6, "b": 6}, num_folds=3, rare=[], common=[])
    record(made, STAGES, folds=3)
    return made


def first(tmp_path: Path) -> Any:
    return collect_runs(tmp_path / "runs")[0][0].folds[0]


def test_the_newest_audit_of_the_very_selection_is_found(run: Path, tmp_path: Path) -> None:
    audits = tmp_path / "stages" / "audits"
    put(audits / "demo-activessf-2-aaaa" / "index.html", changed=1)
    newest = put(audits / "demo-activessf-2-bbbb" / "index.html", changed=2)
    put(audits / "demo-activessf-22-cccc" / "index.html", changed=3)
    put(audits / "demo-activessf_plus-2-dddd" / "summary.json", changed=4)
    assert audit_page(first(tmp_path)) == newest


def test_the_page_of_the_very_regions_is_found(run: Path, tmp_path: Path) -> None:
    quality = tmp_path / "stages" / "quality"
    for name, regions in (("demo-a", "demo-9"), ("demo-b", "demo-1"), ("demo-c", None)):
        put(quality / name / "index.html")
        put(quality / name / "inputs.json", json.dumps({"regions": regions}) if regions else "no json")
    assert region_page(first(tmp_path)) == quality / "demo-b" / "index.html"


def test_without_pages_or_records_there_are_no_links(run: Path, tmp_path: Path) -> None:
    assert audit_page(first(tmp_path)) is None and region_page(first(tmp_path)) is None
    assert stage_folder(first(tmp_path), "regions") is None and region_summary(first(tmp_path)) == {}
    (tmp_path / "stages" / "regions" / "demo-1").mkdir(parents=True)
    put(tmp_path / "stages" / "regions" / "demo-1" / "summary.json", '{"regions": 7}')
    assert region_summary(first(tmp_path)) == {"regions": 7}
    for nothing in (None, [], "x", {"selection": "*", "regions": "../demo-1"}):
        record(run, nothing)
        put(tmp_path / "stages/audits/demo-x-0/index.html")
        assert audit_page(first(tmp_path)) is None and stage_folder(first(tmp_path), "regions") is None


def test_links_are_relative_escaped_and_lead_to_their_file(tmp_path: Path) -> None:
    target = put(tmp_path / "out puts" / "st#ges" / "100%" / "index.html")
    page = put(tmp_path / "out puts" / "report" / "demo" / "index.html")
    link = relative_link(target, page)
    assert link == "../../st%23ges/100%25/index.html"
    assert (page.parent / unquote(link)).resolve() == target.resolve()


@pytest.mark.usefixtures("undrawn")
def test_the_page_links_the_audit_of_each_fold_and_the_regions(run: Path, tmp_path: Path) -> None:
    for fold in range(3):
        details = json.loads((run / f"fold_{fold}" / "run.json").read_text())
        stages = STAGES | {"selection": f"activessf-{fold}"}
        (run / f"fold_{fold}" / "run.json").write_text(json.dumps(details | {"stages": stages}))
        if fold != 1:
            put(tmp_path / "stages" / "audits" / f"demo-activessf-{fold}-aaaa" / "index.html")
    put(tmp_path / "stages/quality/demo-b/index.html")
    put(tmp_path / "stages/quality/demo-b/inputs.json", '{"regions": "demo-1"}')
    write_report(tmp_path / "runs", tmp_path / "report")
    (page,) = (tmp_path / "report").glob("*/index.html")
    links = [link for link in Links(page.read_text()).links if not link.startswith("#")]
    pages = {(page.parent / unquote(link)).resolve().relative_to(tmp_path.resolve()).as_posix() for link in links}
    assert pages == {
        "stages/audits/demo-activessf-0-aaaa/index.html",
        "stages/audits/demo-activessf-2-aaaa/index.html",
        "stages/quality/demo-b/index.html",
    }
    assert all((page.parent / unquote(link)).is_file() for link in links)
    index = Links((tmp_path / "report" / "index.html").read_text()).links
    assert [(tmp_path / "report" / link).resolve() for link in index] == [page.resolve()]
