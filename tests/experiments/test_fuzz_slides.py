import importlib.util
import sys
from io import BytesIO
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "fuzz_slides.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_slides", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def test_a_batch_of_every_format_and_damage_ends_with_a_row_for_each_file(script, tmp_path):
    fuzz = script.Fuzz(tmp_path, seed=3, num_workers=2, keep=None)
    indices = range(0, len(script.FORMATS) * len(script.DAMAGES), 5)
    fuzz.run([script.damaged(index, 3) for index in indices])
    assert fuzz.tally.findings == []
    outcomes = fuzz.tally.outcomes
    assert sum(outcomes.values()) == len(indices)
    assert {damage for _, damage, _ in outcomes} == set(script.DAMAGES)
    assert {outcome for _, damage, outcome in outcomes if damage == "empty"} == {"refused"}
    assert {outcome for _, damage, outcome in outcomes if damage == "junk"} == {"read"}
    assert not (tmp_path / "damaged").exists()


def test_a_run_that_does_not_end_costs_one_finding(script, tmp_path, monkeypatch):
    cases = [script.damaged(index, 0) for index in range(6)]
    checked = []

    def hanging(fuzz, names, seconds):
        if cases[4].name in names:
            raise script._Ended("the run does not end within 1 s")
        return tmp_path

    monkeypatch.setattr(script.Fuzz, "_search", hanging)
    monkeypatch.setattr(script.Fuzz, "_regions", lambda fuzz, found: dict.fromkeys(fuzz.sound, ["a region"]))
    monkeypatch.setattr(script.Fuzz, "_check", lambda fuzz, cases, found: checked.extend(cases))
    fuzz = script.Fuzz(tmp_path, seed=0, num_workers=0, keep=tmp_path / "kept")
    fuzz.run(cases)
    assert fuzz.tally.findings == [f"{cases[4].name}: the run does not end within 1 s"]
    assert checked == [*cases[:4], cases[5]]
    assert [path.read_bytes() for path in (tmp_path / "kept").iterdir()] == [cases[4].data]


@pytest.mark.parametrize(
    ("command", "how"),
    [
        ("import sys; sys.exit('a last line')", "ends with status 1: a last line"),
        ("import os; os.kill(os.getpid(), 11)", "ends with status -11: nothing said"),
        ("import time; time.sleep(60)", "does not end within 1 s"),
    ],
)
def test_a_command_that_fails_or_hangs_is_told(script, command, how):
    with pytest.raises(script._Ended, match=how):
        script._ran([sys.executable, "-c", command], 1)


def test_rows_that_are_missing_and_sound_files_that_change_are_found(script, tmp_path):
    fuzz = script.Fuzz(tmp_path, seed=0, num_workers=0, keep=None)
    found = fuzz._search([], 60)
    regions = (found / "regions.csv").read_text().splitlines()
    (found / "regions.csv").write_text("\n".join(regions[:-1]) + "\n")
    fuzz._check([script.damaged(0, 0)], found)
    assert len(fuzz.tally.findings) == 2
    assert "0 rows in slides.csv and 0 in failures.csv" in fuzz.tally.findings[0]
    assert f"{regions[-1].split(',')[0]} is sound and gives other regions" in fuzz.tally.findings[1]


def test_the_same_number_gives_the_same_damage_and_another_another(script):
    first = script.damaged(30, 0)
    assert first == script.damaged(30, 0)
    assert first.data != script.damaged(30, 1).data
    pairs = len(script.FORMATS) * len(script.DAMAGES)
    cases = [script.damaged(index, 0) for index in range(pairs)]
    assert len({(case.format, case.damage) for case in cases}) == pairs


def test_interlaced_png_is_what_pillow_reads(script):
    pixels = script.drawn(np.random.default_rng(0))
    image = Image.open(BytesIO(script._interlaced_png(pixels)))
    assert image.info["interlace"] == 1
    np.testing.assert_array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("kind", ["JPEG", "JPEG progressive", "PNG", "PNG interlaced", "BMP", "TIFF", "BigTIFF"])
def test_sizes_are_found_where_the_header_states_them(script, kind):
    pixels = script.drawn(np.random.default_rng(1))
    data = bytearray(script.FORMATS[kind][1](pixels))
    for place, code in script._sizes(bytes(data)):
        script.struct.pack_into(code, data, place, 50)
    if "PNG" in kind:
        script.struct.pack_into(">I", data, 29, script.zlib.crc32(data[12:29]))
    assert Image.open(BytesIO(bytes(data))).size == (50, 50)
    assert pixels.shape[:2] != (50, 50)


@pytest.mark.parametrize(
    ("reason", "problem"),
    [
        ("The image a.png is damaged; replace it.", ""),
        ("OpenCV error\n at line 5.", "several lines"),
        ("Traceback (most recent call last).", "several lines"),
        ("No stop", "full stop"),
        ("The chunk \x07 is odd.", "printed"),
        ("a" * 600 + ".", "601 characters"),
    ],
)
def test_a_reason_is_one_printable_sentence(script, reason, problem):
    assert problem in script.flaw(reason) and bool(problem) == bool(script.flaw(reason))


def test_messages_of_one_kind_are_counted_together(script):
    first = script.kind_of("The image /tmp/a/damaged/000001-PNG-cut.png is odd (chunk b'\\x00' at 0x1f, 12 of 3.5).")
    second = script.kind_of('The image /var/b/damaged/000777-BMP-cut.bmp is odd (chunk b"a b" at 0xff, 1 of 9).')
    assert first == second == "The image FILE is odd (chunk BYTES at N, N of N)."
