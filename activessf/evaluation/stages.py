"""What the stages have left on this disk beside the runs: crops of the labeled cells, audits, region pages."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from activessf.errors import InputError
from activessf.evaluation.runs import FoldResult
from activessf.manifests import read_json

_STAGES = "stages"
_PAGE = "index.html"
# As `artifacts.readable` leaves names; what else a run.json holds is no name of ours.
_NAME = re.compile(r"[A-Za-z0-9+-][A-Za-z0-9_.+-]*")


def stage_folder(result: FoldResult, stage: str) -> Path | None:
    """The stage result that a fold rests on, if its name is recorded and it is on this disk.

    It is looked for in the nearest folder `stages` beside or above the fold's, so that outputs of several machines may
    stand side by side.

    Args:
        result: A finished fold.
        stage: cells, folds, regions, selection or pretraining.
    """
    stages, name = _stages(result), _recorded(result, stage)
    if stages is None or name is None:
        return None
    folder = stages / stage / name
    return folder if folder.is_dir() else None


def audit_page(result: FoldResult) -> Path | None:
    """The newest page on which the fold's selection is audited, if there is one."""
    stages, name = _stages(result), _recorded(result, "selection")
    if stages is None or name is None:
        return None
    return _newest([path for path in (stages / "audits").glob(f"*-{name}-*/{_PAGE}")])


def region_page(result: FoldResult) -> Path | None:
    """The newest page on the regions that the fold's selection chose from, if there is one."""
    stages, name = _stages(result), _recorded(result, "regions")
    if stages is None or name is None:
        return None
    pages = (stages / "quality").glob(f"*/{_PAGE}")
    return _newest([page for page in pages if _json(page.with_name("inputs.json")).get("regions") == name])


def region_summary(result: FoldResult) -> dict[str, Any]:
    """What stage 1 counted (images, images_with_region, regions, failed, seconds); empty if it isn't on this disk."""
    folder = stage_folder(result, "regions")
    return {} if folder is None else _json(folder / "summary.json")


def relative_link(target: Path, page: Path) -> str:
    """A link from a page to a file, relative, so that it holds when the outputs are moved as a whole."""
    return quote(os.path.relpath(target.resolve(), page.parent.resolve()).replace(os.sep, "/"))


def _stages(result: FoldResult) -> Path | None:
    return next((path / _STAGES for path in result.folder.absolute().parents if (path / _STAGES).is_dir()), None)


def _recorded(result: FoldResult, stage: str) -> str | None:
    recorded = result.details.get(_STAGES)
    name = recorded.get(stage) if isinstance(recorded, dict) else None
    if name is None and stage == "cells":  # runs from before stages were recorded
        name = result.details["settings"].get("data.cells")
    return name if isinstance(name, str) and _NAME.fullmatch(name) else None


def _newest(pages: list[Path]) -> Path | None:
    return max(pages, key=lambda page: (page.stat().st_mtime, page), default=None)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
    except (InputError, OSError):
        return {}
    return value if isinstance(value, dict) else {}
