import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from activessf.errors import InputError
from activessf.evaluation.report import main, write_report

WriteRun = Callable[..., Path]
SMALL = {"a": 12, "b": 9, "c": 4}
TABLES = (
    *("overall", "further_metrics", "per_class", "long_tail", "intervals", "calibration"),
    *("comparisons", "class_comparisons", "published_differences"),
)


class Tags(HTMLParser):
    """Collects tags, their attributes, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(page: Path) -> Tags:
    parser = Tags()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


def section_page(tmp_path: Path) -> Path:
    (page,) = (tmp_path / "report").glob("*/index.html")
    return page


def write_pair(write_run: WriteRun, **options: object) -> None:
    for name, selection in (("mae-0", "none"), ("mae-1", "activessf")):
        write_run(
            name, "mae", selection, folds=range(3), counts=SMALL, num_folds=3, rare=["c"], common=["a"], **options
        )


def test_a_section_has_its_tables_figures_and_place_on_the_page(write_run: WriteRun, tmp_path: Path) -> None:
    write_pair(write_run)
    lines = write_report(tmp_path / "runs", tmp_path / "report")
    files = {path.relative_to(tmp_path / "report").as_posix() for path in (tmp_path / "report").rglob("*.*")}
    tables = {f"demo-quick-seed0/{name}.{suffix}" for name in TABLES for suffix in ("csv", "md", "tex")}
    figures = {
        f"demo-quick-seed0/{name}.{suffix}"
        for name in ("class_distribution", "comparison_mae-1", "pr_curves_mae-1")
        for suffix in ("png", "pdf")
    }
    pages = {"index.html", "demo-quick-seed0/index.html", "demo-quick-seed0/confident_mistakes.csv"}
    assert files == tables | figures | pages
    assert lines[0] == "demo, recipe quick, seed 0" and "mae + activessf" in lines[1]
    assert f"Page: {tmp_path / 'report' / 'demo-quick-seed0' / 'index.html'}" in lines
    assert lines[-1] == f"Report: {tmp_path / 'report' / 'index.html'}"
    page = parsed(section_page(tmp_path))
    assert sum(tag == "img" for tag, _ in page.tags) == 3
    assert sum(tag == "details" for tag, _ in page.tags) == 6  # configuration, confusion and mistakes of each run
    assert "python train.py ssl=mae selection=activessf fold=0" in page.text
    overall = pd.read_csv(tmp_path / "report/demo-quick-seed0/overall.csv")
    assert f"{overall['accuracy_mean'][1]:.2f}" in "".join(page.text)


def test_the_page_needs_nothing_from_outside(write_run: WriteRun, tmp_path: Path) -> None:
    write_pair(write_run)
    write_report(tmp_path / "runs", tmp_path / "report")
    for page in (section_page(tmp_path), tmp_path / "report" / "index.html"):
        assert re.search(r"https?://|//\w+\.\w+/|@import|url\(", page.read_text(encoding="utf-8")) is None
        for tag, attributes in parsed(page).tags:
            assert tag not in ("link", "iframe", "object", "base")
            assert (attributes.get("src") or "data:").startswith("data:")
            link = attributes.get("href") or "#"
            assert link.startswith("#") or (page.parent / link).is_file()


def test_names_can_not_put_markup_into_the_page(write_run: WriteRun, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    counts = {evil: 9, "a&b": 9, '" onload="x': 3}
    for name, selection in (("mae-0", "none"), ("mae-1", "activessf")):
        write_run(name, "mae", selection, folds=[0, 1, 2], counts=counts, num_folds=3, rare=[evil], common=[],
                  absent={1: [evil]}, title=f"{evil} {selection}", settings={"note": evil, evil: 1},
                  choices={"loss": evil, "data": "../<b>"})  # fmt: skip
    write_report(tmp_path / "runs", tmp_path / "report")
    for path, scripts in ((section_page(tmp_path), 2), (tmp_path / "report" / "index.html", 1)):
        text, page = path.read_text(encoding="utf-8"), parsed(path)
        assert sum(tag == "script" for tag, _ in page.tags) == scripts and "<b>" not in text and evil not in text
        assert not any("onload" in attributes for _, attributes in page.tags)
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert ">a&amp;b<" in section_page(tmp_path).read_text(encoding="utf-8")
    assert (tmp_path / "report" / "_b_-quick-seed0" / "overall.csv").is_file()


@pytest.mark.usefixtures("undrawn")
def test_unfinished_folds_do_not_stop_the_report(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", folds=[0], unfinished=[1], counts=SMALL, rare=[], common=[])
    write_run("mae-2", "mae", "crf", folds=[], unfinished=[0], counts=SMALL)
    printed = "\n".join(write_report(tmp_path / "runs", tmp_path / "report"))
    assert "only fold 0; missing are 1, 2, 3, 4 (started, not finished: 1)" in printed
    assert "mae + crf (mae-2): no fold is finished yet (started: 0)." in printed
    assert "no fold is finished yet" in (tmp_path / "report/index.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("undrawn")
def test_runs_without_a_finished_fold_are_named_below_the_tables_of_their_data(
    write_run: WriteRun, tmp_path: Path
) -> None:
    write_pair(write_run)
    for name in ("demo-quick-mae-crf-0123", "bccd-quick-mae-none-4567"):
        (tmp_path / "runs" / name / ".fold_1.partial-x7_y").mkdir(parents=True)
    write_report(tmp_path / "runs", tmp_path / "report")
    for table in ("overall.md", "per_class.tex"):
        text = (tmp_path / "report/demo-quick-seed0" / table).read_text(encoding="utf-8").replace("\\", "")
        assert (
            "Not in the tables, since no fold of it is finished: demo-quick-mae-crf-0123 (fold 1 runs, or was killed"
            in text
        )
        assert "bccd" not in text


@pytest.mark.usefixtures("undrawn")
def test_names_are_text_in_a_spreadsheet_and_no_control_character_reaches_the_terminal(
    write_run: WriteRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["=1+1", "@SUM(A1)", "-5", "+7", "a,b"]
    for number, selection in enumerate(("none", "activessf")):
        write_run(f"mae-{number}", "mae", selection, counts=dict.fromkeys(names, 6), folds=[0], skill=0.5,
                  rare=[], common=[], title=f"=\x1b[2J{selection}")  # fmt: skip
    assert main(["--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "report")]) == 0
    printed = capsys.readouterr().out
    assert "only fold 0" in printed and "\x1b" not in printed
    section = tmp_path / "report/demo-quick-seed0"
    classes = pd.read_csv(section / "per_class.csv", dtype=str, keep_default_na=False)["class"]
    assert list(classes[:5]) == ["'=1+1", "'@SUM(A1)", "'-5", "'+7", "a,b"]
    for path in section.glob("*.csv"):
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        for name in frame.columns:
            numbers = pd.to_numeric(frame[name], errors="coerce").notna()
            assert not frame[name][~numbers].str.startswith(("=", "+", "-", "@")).any(), (path.name, name)


@pytest.mark.usefixtures("undrawn")
def test_another_seed_is_another_section(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", folds=[0], counts=SMALL, rare=[], common=[])
    write_run("mae-0", "mae", "none", folds=[0], counts=SMALL, rare=[], common=[], seed=7)
    write_report(tmp_path / "runs", tmp_path / "report")
    for seed, run in ((0, "mae + activessf"), (7, "mae + none")):
        table = pd.read_csv(tmp_path / "report" / f"demo-quick-seed{seed}" / "overall.csv")
        assert list(table["run"]) == [run]
    assert pd.read_csv(tmp_path / "report/demo-quick-seed0/comparisons.csv").empty


@pytest.mark.usefixtures("undrawn")
def test_data_and_recipe_choose_runs(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", folds=[0], counts=SMALL, rare=[], common=[])
    write_run("mae-2", folds=[0], counts=SMALL, rare=[], common=[], choices={"data": "bccd", "recipe": "small"})
    lines = write_report(tmp_path / "runs", tmp_path / "report", data="bccd", recipe="small")
    assert lines[0] == "bccd, recipe small, seed 0"
    assert [path.name for path in (tmp_path / "report").iterdir() if path.is_dir()] == ["bccd-small-seed0"]
    with pytest.raises(InputError, match="No finished run has data=nope; there are runs with bccd, demo"):
        write_report(tmp_path / "runs", tmp_path / "report", data="nope")


def test_many_runs_of_a_method_are_drawn_in_several_figures(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-none", "mae", "none", folds=[0], counts=SMALL, rare=[], common=[])
    for index in range(7):
        write_run(
            f"mae-{index}",
            "mae",
            "crf",
            folds=[0],
            counts=SMALL,
            rare=[],
            common=[],
            settings={"regions.fill_rate": index},
        )
    write_report(tmp_path / "runs", tmp_path / "report")
    names = {path.name for path in (tmp_path / "report/demo-quick-seed0").glob("pr_auc_*.png")}
    assert names == {"pr_auc_mae_1.png", "pr_auc_mae_2.png"}


def test_no_runs_end_with_one_sentence_and_status_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--runs", str(tmp_path / "none"), "--output", str(tmp_path / "report")]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert not (tmp_path / "report").exists()


def test_the_command_runs_where_the_terminal_knows_ascii_only(write_run: WriteRun, tmp_path: Path) -> None:
    write_pair(write_run)
    arguments = ["--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "report")]
    done = subprocess.run(
        [sys.executable, "-m", "activessf.evaluation.report", *arguments],
        cwd=Path(__file__).resolve().parents[2],
        env={"PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1", "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert all(line.startswith("Writing the report:") for line in lines), done.stderr  # the progress bar alone
    assert "mae + activessf" in done.stdout and str(tmp_path / "report" / "index.html") in done.stdout


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(option in text for option in ("--runs", "--output", "--data", "--recipe", "--resamples", "--allow"))


@pytest.mark.usefixtures("undrawn")
def test_the_number_of_resamples_is_an_option_and_checked(
    write_run: WriteRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(write_run)
    arguments = ["--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "report"), "--resamples"]
    assert main([*arguments, "37"]) == 0
    written = pd.read_csv(tmp_path / "report/demo-quick-seed0/intervals.csv", keep_default_na=False)
    assert written["resamples"].max() == 37
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "0"])
    assert stop.value.code == 2 and "needs a whole number from 1, got '0'" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_old_metrics_files_do_not_matter(write_run: WriteRun, tmp_path: Path) -> None:
    write_pair(write_run)
    for folder in (tmp_path / "runs").glob("*/fold_*"):
        (folder / "metrics.json").write_text('{"accuracy": 0.5}', encoding="utf-8")
    write_report(tmp_path / "runs", tmp_path / "report")
    table = pd.read_csv(tmp_path / "report/demo-quick-seed0/further_metrics.csv")
    assert table["mcc_mean"].notna().all()


# Leaks


def one_patient(fold: int) -> pd.DataFrame:
    labels = ["a", "a", "b", "c"]
    return pd.DataFrame(
        {"image": [f"{fold}_{index}.png" for index in range(4)], "x": 0, "y": 0, "width": 9, "height": 9,
         "group": ["<b>\x1b[31m", "p2", "p3", "p4"] if fold < 2 else ["p5", "p6", "p7", "p8"], "fold": fold,
         "label": labels, "predicted": labels, "p_a": [1, 1, 0, 0], "p_b": [0, 0, 1, 0], "p_c": [0, 0, 0, 1]}
    )  # fmt: skip


def run_report(tmp_path: Path, *options: str) -> int:
    return main(["--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "report"), *options])


def test_a_leak_takes_the_tables_of_its_section_and_leaves_the_others(
    write_run: WriteRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(write_run)
    assert run_report(tmp_path) == 0
    section = tmp_path / "report" / "demo-quick-seed0"
    assert (section / "overall.md").is_file() and list(section.glob("*.png"))
    (section / "my notes.md").write_text("mine")
    write_run("mae-2", "mae", "crf", folds=range(3), counts=SMALL, num_folds=3, rare=[], common=[], scope="all")
    write_run("mae-3", folds=[0], counts=SMALL, rare=[], common=[], choices={"data": "bccd"})
    capsys.readouterr()
    assert run_report(tmp_path) == 3
    printed = capsys.readouterr()
    assert "demo, recipe quick, seed 0: no tables\n- pool: in mae + crf, selection and pretraining saw" in printed.out
    assert "--allow pool" in printed.out and "bccd, recipe quick, seed 0\n" in printed.out
    assert printed.err.splitlines()[-1].startswith("error: No tables are given of demo, recipe quick, seed 0, since")
    assert sorted(path.name for path in section.iterdir()) == ["my notes.md", "refused.md"]
    assert "selection.scope=all" in (section / "refused.md").read_text(encoding="utf-8")
    assert (tmp_path / "report" / "bccd-quick-seed0" / "overall.csv").is_file()
    page = "".join(parsed(tmp_path / "report" / "index.html").text)
    assert "No tables: what was tested may have had a part in training" in page
    assert "--allow pool" in page and "bccd, recipe quick, seed 0" in page


@pytest.mark.usefixtures("undrawn")
def test_what_an_earlier_report_wrote_and_this_one_does_not_is_gone(write_run: WriteRun, tmp_path: Path) -> None:
    write_pair(write_run)
    section = tmp_path / "report" / "demo-quick-seed0"
    section.mkdir(parents=True)
    earlier = ("ablation.csv", "published_scores.tex", "comparison_gone.png", "pr_curves_gone.pdf", "refused.md")
    for name in (*earlier, "notes.md", "ablation_of_mine.csv"):
        (section / name).write_text("earlier")
    assert run_report(tmp_path) == 0
    assert not any((section / name).exists() for name in earlier)
    assert all((section / name).read_text() == "earlier" for name in ("notes.md", "ablation_of_mine.csv"))


@pytest.mark.usefixtures("undrawn")
def test_a_leak_that_is_allowed_by_name_stands_below_every_table(write_run: WriteRun, tmp_path: Path) -> None:
    write_run("mae-1", folds=range(3), num_folds=3, rare=[], common=[], predictions=one_patient, scope="all")
    assert run_report(tmp_path, "--allow", "pool") == 3
    assert run_report(tmp_path, "--allow", "pool,groups") == 0
    section = tmp_path / "report" / "demo-quick-seed0"
    assert not (section / "refused.md").exists()
    written = [path for path in section.iterdir() if path.suffix in (".md", ".tex")]
    assert {"overall.md", "per_class.md", "comparisons.md", "overall.tex"} <= {path.name for path in written}
    for path in written:
        text = " ".join(path.read_text(encoding="utf-8").replace("{-}", "-").split())
        assert "allow groups" in text and "allow pool" in text, path.name
    page = "".join(parsed(section / "index.html").text)
    assert page.count("Given in spite of a leak, by --allow groups") == len(list(section.glob("*.md")))
    assert "by --allow pool" in "".join(parsed(tmp_path / "report" / "index.html").text)


def test_names_of_groups_reach_neither_terminal_nor_page_as_more_than_text(
    write_run: WriteRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run("mae-1", folds=range(3), num_folds=3, rare=[], common=[], predictions=one_patient, title="\x1b[2Jx")
    assert run_report(tmp_path) == 3
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "'<b>\\x1b[31m'" in printed
    assert not any(tag == "b" for tag, _ in parsed(tmp_path / "report" / "index.html").tags)
    assert "<b>" not in (tmp_path / "report/demo-quick-seed0/refused.md").read_text(encoding="utf-8")


def test_an_unknown_check_is_a_mistake(write_run: WriteRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pair(write_run)
    assert run_report(tmp_path, "--allow", "everything") == 2
    assert "error: --allow names 'everything', which is no check; the checks are groups" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
