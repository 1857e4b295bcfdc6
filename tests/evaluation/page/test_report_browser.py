"""The report as people see it: in a real browser."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from chromium import Chromium
from PIL import Image

from activessf.evaluation.page.opened import Limits
from activessf.evaluation.report import write_report

Write = Callable[..., Any]
SMALL = {"a": 12, "b": 9, "c": 4}
EVIL = "<script>window.hacked = 1</script>"
HOSTILE = {
    EVIL: 12,
    '" onmouseover="window.hacked=1" x="': 9,
    "</script><img src=x onerror='window.hacked=1'>": 6,
    "\u5de8\u6838\u7ec6\u80de": 6,
    "x" * 300: 6,
    "../../etc": 6,
}


# Contrast of every text with what is behind it, as WCAG 2 defines it.
CONTRAST = """() => {
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const over = ([r, g, b, a = 1], below) => [r, g, b].map((value, place) => a * value + (1 - a) * below[place]);
  const linear = value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const white = [255, 255, 255];
  const own = node => numbers(getComputedStyle(node).backgroundColor);
  const ground = node => node ? over(own(node), ground(node.parentElement)) : white;
  const texts = "p, h1, h2, h4, td, th button, .name, header a, td button";
  return [...document.querySelectorAll(texts)]
    .filter(node => node.checkVisibility() && node.textContent.trim())
    .map(node => {
      const back = ground(node);
      const pair = [light(over(numbers(getComputedStyle(node).color), back)), light(back)];
      return [(Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05), node.outerHTML.slice(0, 120)];
    });
}"""


MADE: list[Path] = []


@pytest.fixture
def page(write_run: Write, write_crops: Write, tmp_path: Path) -> Path:
    """The page of a pair of runs with crops; made once, since it is only looked at."""
    if MADE:
        return MADE[0]
    for name, selection, skill in (("mae-0", "none", 1.0), ("mae-1", "activessf", 1.5)):
        write_run(
            name, "mae", selection, folds=range(3), counts=SMALL, num_folds=3, rare=["c"], common=["a"], skill=skill
        )
    write_crops(tmp_path / "runs" / "mae-0")
    MADE.append(written(tmp_path))
    return MADE[0]


def written(tmp_path: Path, **limits: int) -> Path:
    write_report(tmp_path / "runs", tmp_path / "report", limits=Limits(**limits))
    (page,) = (tmp_path / "report").glob("*/index.html")
    return page


def predictions(page: Path, run: str) -> pd.DataFrame:
    runs = page.parents[2] / "runs"
    return pd.concat(
        [pd.read_csv(path, keep_default_na=False) for path in sorted((runs / run).glob("*/predictions.csv"))]
    )


def hostile_predictions(fold: int) -> pd.DataFrame:
    """Cells of one fold; every other one is taken for the class after its own."""
    classes = list(HOSTILE)
    labels = [name for name, count in HOSTILE.items() for number in range(count) if number % 3 == fold]
    images = [EVIL, "<img src=x onerror=window.hacked=1>.png", "../" * 9 + "etc/passwd", "\u7ec6\u80de.png", "n" * 300]
    wrong = [number % 2 for number in range(len(labels))]
    predicted = [classes[(classes.index(name) + step) % len(classes)] for name, step in zip(labels, wrong, strict=True)]
    return pd.DataFrame(
        {
            "image": [f"{images[number % len(images)]}{fold}" for number in range(len(labels))],
            "x": [100.0 * fold + number for number in range(len(labels))],
            "y": 5.0, "width": 40.0, "height": 40.0, "group": f"<b onclick=hacked=1>{fold}", "fold": fold,
            "label": labels, "predicted": predicted,
        }
        | {f"p_{name}": [0.5 if name == chosen else 0.1 for chosen in predicted] for name in classes}
    )  # fmt: skip


def column(browser: Chromium, table: str, number: int) -> list[str]:
    rows = f"[...document.querySelectorAll('{table} tbody tr')]"
    texts: list[str] = browser.run(f"{rows}.map(row => row.cells[{number}].textContent.trim())")
    return texts


def test_a_page_loads_without_an_error_and_asks_for_nothing(page: Path, browser: Chromium) -> None:
    for file in (page, page.parents[1] / "index.html"):
        browser.open(file)
        assert browser.troubles() == []
        assert [url for url in browser.requests() if not url.startswith("data:")] == [file.resolve().as_uri()]
        shown = browser.run("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        assert shown is True


def test_headers_sort_numbers_as_numbers_and_gaps_last(page: Path, browser: Chromium) -> None:
    browser.open(page)
    table = "#table-overall"
    texts = ["9.50 \u00b1 1.03", "80.36 \u00b1 1.03 **", "-", "1,234.00", "-3.00 \u00b1 0.10", "< 0.0001", "80.4"]
    browser.run(
        f"(body => body.replaceChildren(...{json.dumps(texts)}.map(text => {{ "
        "const row = document.createElement('tr'); "
        "for (const value of ['row ' + text, text]) row.insertCell().textContent = value; return row; })))"
        f"(document.querySelector('{table} tbody'))"
    )
    rising = ["-3.00 \u00b1 0.10", "< 0.0001", "9.50 \u00b1 1.03", "80.36 \u00b1 1.03 **", "80.4", "1,234.00", "-"]
    browser.click(f"{table} th:nth-child(2) button")
    assert column(browser, table, 1) == rising
    assert column(browser, table, 0) == [f"row {text}" for text in rising]
    browser.click(f"{table} th:nth-child(2) button")
    assert column(browser, table, 1) == [*rising[-2::-1], "-"]
    assert browser.run(f"document.querySelector('{table} th:nth-child(2)').ariaSort") == "descending"
    browser.run(f"document.querySelector('{table} th button').focus()")
    browser.press("Enter", "\r")
    assert browser.run(f"document.querySelector('{table} th').ariaSort") == "ascending"
    assert browser.run(f"document.querySelectorAll('{table} th[aria-sort]').length") == 1


def test_dates_and_names_with_digits_sort_as_texts(page: Path, browser: Chromium) -> None:
    browser.open(page)
    script = "(texts => texts.map(numberIn))"
    assert browser.run(f"{script}(['2025-01-31 10:00', 'mae 2', '12 to 15', '3 of 5', '40.5 %', '1e-3'])") == [
        None, None, 12, 3, 40.5, 1e-3,
    ]  # fmt: skip


def test_a_cell_of_the_matrix_opens_its_cells_with_their_own_pictures(page: Path, browser: Chromium) -> None:
    browser.open(page)
    frame = predictions(page, "mae-0")
    counts = frame[frame["label"] != frame["predicted"]].groupby(["label", "predicted"]).size()
    label, predicted = counts.idxmax()
    classes = list(SMALL)
    button = f"button[data-run='0'][data-true='{classes.index(label)}'][data-predicted='{classes.index(predicted)}']"
    browser.click(button)
    own = frame[(frame["label"] == label) & (frame["predicted"] == predicted)]
    own = own.sort_values(f"p_{predicted}", ascending=False, kind="stable")
    assert browser.run(f"document.querySelector({json.dumps(button)}).ariaExpanded") == "true"
    heading = browser.run("document.querySelector('#panel-0 h4').textContent")
    assert heading == f"true {label}, predicted {predicted}: {len(own)}"
    names = browser.run("[...document.querySelectorAll('#panel-0 .name')].map(name => name.textContent)")
    assert names == own["image"].tolist()
    tops = browser.run(
        "[...document.querySelectorAll('#panel-0 figure')].map(f => f.querySelector('.bar b').textContent)"
    )
    assert tops == [f"{100 * round(value, 4):.1f} %" for value in own[f"p_{predicted}"]]
    middle = browser.run(
        "Promise.all([...document.querySelectorAll('#panel-0 img')].map(async image => { await image.decode();"
        "const canvas = document.createElement('canvas'); canvas.width = image.naturalWidth;"
        "canvas.height = image.naturalHeight; const pen = canvas.getContext('2d'); pen.drawImage(image, 0, 0);"
        "return [...pen.getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data.slice(0, 3)]; }))"
    )
    stage = pd.read_csv(next((page.parents[2] / "stages/cells").glob("*/cells.csv")))
    for (_, row), seen in zip(own.iterrows(), middle, strict=True):
        crop = stage[(stage["image"] == row["image"]) & (stage["x"] == row["x"])]["crop"].item()
        colour = np.asarray(Image.open(next((page.parents[2] / "stages/cells").glob("*")) / crop))[0, 0]
        assert np.abs(colour.astype(int) - seen).max() <= 6  # JPEG


def test_the_keyboard_opens_and_closes_cells(page: Path, browser: Chromium) -> None:
    browser.open(page)
    first = "document.querySelector('table.confusion button')"
    browser.run(f"{first}.focus()")
    browser.press("Enter", "\r")
    assert browser.run("document.getElementById('panel-0').hidden") is False
    browser.press("Escape")
    assert browser.run("document.getElementById('panel-0').hidden") is True
    assert browser.run(f"document.activeElement === {first} && {first}.ariaExpanded === 'false'") is True
    browser.press(" ", " ")
    assert browser.run("document.querySelectorAll('#panel-0 figure').length") > 0
    browser.click("#panel-0 .close")
    assert browser.run("document.getElementById('panel-0').hidden") is True


def test_confident_mistakes_stand_by_class_with_the_runs_that_agree(page: Path, browser: Chromium) -> None:
    browser.open(page)
    frame = predictions(page, "mae-0")
    wrong = frame[(frame["label"] == "b") & (frame["predicted"] != "b")].copy()
    wrong["certainty"] = [row[f"p_{row['predicted']}"] for _, row in wrong.iterrows()]
    surest = wrong.sort_values("certainty", ascending=False).head(8)
    own = "#mistakes .cells[data-run='0'][data-true='1']"
    names = browser.run(f'[...document.querySelectorAll("{own} .name")].map(name => name.textContent)')
    assert names == surest["image"].tolist()
    texts = browser.run(f'[...document.querySelectorAll("{own} figure")].map(figure => figure.textContent)')
    other = predictions(page, "mae-1").set_index(["image", "x"])
    for text, (_, row) in zip(texts, surest.iterrows(), strict=True):
        again = other.loc[(row["image"], row["x"])]
        assert f"wrong in {1 + int(again['predicted'] != again['label'])} of 2 runs" in text


def test_hostile_names_are_shown_and_run_nothing(
    write_run: Write, write_crops: Write, browser: Chromium, tmp_path: Path
) -> None:
    write_run(
        "mae-0", "mae", "none", folds=range(3), counts=HOSTILE, num_folds=3, rare=[EVIL], common=[],
        predictions=hostile_predictions, title=EVIL, settings={"note": EVIL, EVIL: EVIL}, choices={"backbone": EVIL},
    )  # fmt: skip
    write_crops(tmp_path / "runs" / "mae-0")
    page = written(tmp_path)
    browser.open(page)
    for button in range(browser.run("document.querySelectorAll('table.confusion button').length")):
        browser.run(f"document.querySelectorAll('table.confusion button')[{button}].click()")
        assert browser.run("document.querySelectorAll('.panel:not([hidden]) figure').length") > 0
    assert browser.run("typeof window.hacked") == "undefined"
    assert browser.troubles() == []
    headers = browser.run("[...document.querySelectorAll('table.confusion tbody th')].map(th => th.textContent)")
    assert headers == list(HOSTILE)
    assert browser.run("document.querySelectorAll('script').length") == 2
    assert browser.run("document.querySelector('b[onclick], img[onerror]')") is None
    assert browser.run("document.documentElement.scrollWidth <= innerWidth") is True


def test_only_the_pages_own_script_may_run(page: Path, browser: Chromium) -> None:
    injected = page.read_text(encoding="utf-8").replace("</main>", "<script>window.hacked = 1</script></main>")
    other = page.with_name("injected.html")
    other.write_text(injected, encoding="utf-8")
    browser.open(other)
    assert browser.run("typeof window.hacked") == "undefined"
    assert any("Content Security Policy" in json.dumps(item) for item in browser.troubles())


def test_a_narrow_window_needs_no_sideways_scrolling(page: Path, browser: Chromium) -> None:
    browser.open(page, width=390)
    browser.click("table.confusion button")
    assert browser.run("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_its_ground(page: Path, browser: Chromium, dark: bool) -> None:
    browser.open(page, dark=dark)
    browser.run("document.querySelector('table.confusion button').click()")
    worst = browser.run(f"({CONTRAST})().sort((x, y) => x[0] - y[0])[0]")
    assert worst[0] >= 4.5, worst


def test_it_prints_on_few_pages_without_what_only_a_screen_can_open(page: Path, browser: Chromium) -> None:
    browser.open(page)
    browser.click("table.confusion button")
    printed = browser.pdf()
    assert printed.startswith(b"%PDF-") and printed.rstrip().endswith(b"%%EOF")
    assert 3 <= printed.count(b"/Type /Page\n") <= 7 and len(printed) > 50_000
    browser.send("Emulation.setEmulatedMedia", media="print")
    shown = "[...document.querySelectorAll('{}')].filter(node => node.checkVisibility()).length"
    for gone in ("figure.cell", "table.confusion", "nav", "#runs details", "#runs th:last-child"):
        assert browser.run(shown.format(gone)) == 0, gone
    assert browser.run(shown.format("table.data")) == len(list(page.parent.glob("*.md"))) + 1
    assert browser.run(shown.format(".enlarge img")) == len(list(page.parent.glob("*.png")))
    assert browser.run(shown.format("#method h3")) > 3 and browser.run(shown.format(".paper")) == 1
    browser.send("Emulation.setEmulatedMedia", media="")
    assert browser.run(shown.format(".paper")) == 0


def test_a_link_to_a_run_opens_its_configuration(page: Path, browser: Chromium) -> None:
    browser.open(page)
    assert browser.run("document.getElementById('run-1').open") is False
    browser.click("#runs a[href='#run-1']")
    assert (
        browser.run("new Promise(done => setTimeout(() => done(document.getElementById('run-1').open), 200))") is True
    )
    browser.click(".enlarge")
    assert browser.run("document.querySelector('.enlarge').ariaPressed") == "true"
