import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from activessf.selection.audit.page import write_tables

SCRIPT = Path(__file__).resolve().parents[3] / "experiments" / "selection_table.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("selection_table", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_that_by_hand(
    script: ModuleType, case: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Candidates 0 to 5 show a, b, nothing, both, an image without labels, b; b is rare.
    kept = {0: [1, 1, 0, 0, 0, 0], 1: [1, 1, 1, 0, 0, 1]}
    for fold, chosen in kept.items():
        folder = tmp_path / "stages" / "audits" / f"activessf-{fold}"
        folder.mkdir(parents=True)
        facts = {"data": "tiny", "selection": "activessf", "folder": folder.name, "fold": fold, "seed": 0, "among": {}}
        write_tables(case.decided(kept=chosen), None, {**facts, "strategy": {"alpha": 1}}, folder)
    assert script.main(["--output", str(tmp_path), "--write", str(tmp_path / "tables")]) == 0
    path = tmp_path / "tables" / "tiny.csv"
    row = pd.read_csv(path).iloc[0]
    assert row["selection"] == "activessf alpha=1" and row["folds"] == 2
    assert (row["kept"], row["kept/b"], row["kept/a"]) == (3, 1.5, 1)
    assert (
        row["kept_sd"] == pytest.approx(2**0.5) and row["rare_recall"] == 0.75 and np.isnan(row["rare_planted_recall"])
    )
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    cells = [cell.strip() for cell in lines[-2] if cell.strip()]
    sign = "\N{PLUS-MINUS SIGN}"
    assert cells[:5] == ["activessf alpha=1", "2", f"3.0 {sign} 1.4", f"75.0 {sign} 35.4", "-"]
    assert path.with_suffix(".md").read_text().count("activessf alpha=1") == 1


def test_without_audits_it_says_what_to_run(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["--output", str(tmp_path)]) == 2
    assert "run select.py first" in capsys.readouterr().err
