"""Damaged slides by the thousand through stage 1: does every run end, and does every file get its row?

    python experiments/fuzz_slides.py --files 5000 --seed 0

Small fields are drawn, written in every format that a laboratory has, and damaged at random. They go through stage 1
in batches, with worker processes, each batch in a process of its own with a limit of time. With every batch go sound
files. Checked is that the run ends by itself, that each file stands either in slides.csv or in failures.csv, that the
sound files give the regions and crops that they give alone, and that each reason is one sentence. A batch that does
not end well is halved until the file is found. Printed are a table of formats and damages, the kinds of reasons, what
was written on the console, and every finding; the exit status is 1 if there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from activessf.manifests import FAILURES, REGIONS, SLIDES, read_table
from activessf.regions.filtering import RegionFilter
from activessf.regions.stage import Search, find_regions
from activessf.regions.tiles import Tiling

Pixels = NDArray[np.uint8]

CONF = Path(__file__).resolve().parents[1] / "conf"
_MOST_BYTES = 8 << 30  # of address space, a process
_LONGEST_REASON = 500
# What lies between costs minutes: OpenSlide takes gigapixels at their word and gives absent tiles as white.
_HUGE = (3_000, 8_000, 2_000_000, 2**31 - 1, 2**32 - 1)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_APERIO = "Aperio Image Library v12.0\r\n144x96 (64x64) JPEG|AppMag = 40|MPP = 0.25"


# Sound files


def drawn(rng: np.random.Generator) -> Pixels:
    """A pale field with one to three purple discs, RGB, 64 to 160 pixels wide and high."""
    height, width = rng.integers(64, 161, 2)
    pixels = np.full((height, width, 3), (225, 205, 210), np.uint8)
    for _ in range(rng.integers(1, 4)):
        radius = int(rng.integers(10, 26))
        cv2.circle(pixels, (int(rng.integers(width)), int(rng.integers(height))), radius, (90, 40, 160), -1)
    return np.clip(pixels + rng.integers(-4, 5, pixels.shape), 0, 255).astype(np.uint8)


def _pillow(kind: str, mode: str = "RGB", **options: Any) -> Callable[[Pixels], bytes]:
    def encode(pixels: Pixels) -> bytes:
        file = BytesIO()
        Image.fromarray(pixels).convert(mode, palette=Image.Palette.ADAPTIVE).save(file, kind, **options)
        return file.getvalue()

    return encode


def _turned_jpeg(pixels: Pixels) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return _pillow("JPEG", quality=90, exif=exif)(pixels)


def _deep_png(pixels: Pixels) -> bytes:
    return bytes(cv2.imencode(".png", pixels[..., ::-1].astype(np.uint16) * 257)[1])


def _deep_grey_png(pixels: Pixels) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(file, "PNG")
    return file.getvalue()


def _interlaced_png(pixels: Pixels) -> bytes:
    """Pillow and OpenCV write none, so: seven passes of unfiltered rows."""
    rows = (row for x, y, right, down in _ADAM7 for row in pixels[y::down, x::right])
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", data), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _tiff(levels: int = 1, deep: bool = False, big: bool = False, **options: Any) -> Callable[[Pixels], bytes]:
    def encode(pixels: Pixels) -> bytes:
        file = BytesIO()
        values = pixels.astype(np.uint16) * 257 if deep else pixels
        with tifffile.TiffWriter(file, bigtiff=big) as writer:
            for level in range(levels):
                writer.write(values[:: 2**level, :: 2**level], photometric="rgb", metadata=None, **options)
        return file.getvalue()

    return encode


def _svs(pixels: Pixels) -> bytes:
    """Two levels of JPEG tiles; tifffile writes the tiles as they come, only the tags are put right afterwards."""
    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for level in (pixels, pixels[::2, ::2]):
            tiles: dict[str, Any] = {"shape": level.shape, "dtype": np.uint8, "tile": (64, 64), "compression": "zlib"}
            writer.write(_jpeg_tiles(level), **tiles, photometric="rgb", description=_APERIO, metadata=None)
    file.seek(0)
    with tifffile.TiffFile(file, mode="r+") as written:
        for page in written.pages:
            page.tags["Compression"].overwrite(7)  # type: ignore[union-attr]
            page.tags["PhotometricInterpretation"].overwrite(6)  # type: ignore[union-attr]
        return file.getvalue()


def _jpeg_tiles(pixels: Pixels) -> Iterator[bytes]:
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % 64), (0, -width % 64), (0, 0)), mode="edge")
    for y in range(0, height, 64):
        for x in range(0, width, 64):
            yield _pillow("JPEG", quality=90, subsampling=0)(padded[y : y + 64, x : x + 64])


FORMATS: Mapping[str, tuple[str, Callable[[Pixels], bytes]]] = {
    "JPEG": (".jpg", _pillow("JPEG", quality=90)),
    "JPEG progressive": (".jpg", _pillow("JPEG", quality=90, progressive=True)),
    "JPEG CMYK": (".jpg", _pillow("JPEG", "CMYK", quality=90)),
    "JPEG grey": (".jpeg", _pillow("JPEG", "L", quality=90)),
    "JPEG turned": (".jpg", _turned_jpeg),
    "PNG": (".png", _pillow("PNG")),
    "PNG 16 bit": (".png", _deep_png),
    "PNG grey": (".png", _pillow("PNG", "L")),
    "PNG grey 16 bit": (".png", _deep_grey_png),
    "PNG alpha": (".png", _pillow("PNG", "RGBA")),
    "PNG palette": (".png", _pillow("PNG", "P")),
    "PNG interlaced": (".png", _interlaced_png),
    "BMP": (".bmp", _pillow("BMP")),
    "TIFF": (".tif", _pillow("TIFF")),
    "TIFF 16 bit": (".tif", _tiff(deep=True)),
    "TIFF LZW": (".tif", _pillow("TIFF", compression="tiff_lzw")),
    "TIFF deflate": (".tif", _pillow("TIFF", compression="tiff_adobe_deflate")),
    "TIFF JPEG": (".tif", _pillow("TIFF", compression="jpeg")),
    "TIFF tiled": (".tiff", _tiff(tile=(64, 64), compression="zlib")),
    "TIFF pyramid": (".tif", _tiff(levels=3, tile=(64, 64), compression="zlib")),
    "BigTIFF": (".tif", _tiff(big=True, compression="zlib")),
    "SVS": (".svs", _svs),
}
_SUFFIXES = sorted({suffix for suffix, _ in FORMATS.values()} | {".ndpi", ".mrxs", ".scn", ".bif", ".dcm"})


# Damage: of the file's bytes


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(1, len(data)))]


def _flipped(data: bytes, rng: np.random.Generator) -> bytes:
    values = np.frombuffer(data, np.uint8).copy()
    places = rng.integers(0, len(values), rng.integers(1, 17))
    values[places] ^= rng.integers(1, 256, len(places), np.uint8)
    return values.tobytes()


def _overwritten(data: bytes, rng: np.random.Generator) -> bytes:
    values = np.frombuffer(data, np.uint8).copy()
    start = int(rng.integers(0, len(values)))
    block = values[start : start + int(rng.integers(2, max(3, len(values) // 4)))]
    block[:] = (0, 255, rng.integers(0, 256, len(block)))[int(rng.integers(3))]
    return values.tobytes()


def _header(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four bytes of the first or the last 400: a TIFF's directory stands at either end."""
    values = np.frombuffer(data, np.uint8).copy()
    end = values[:400] if rng.random() < 0.7 else values[-400:]
    end[rng.integers(0, len(end), rng.integers(1, 5))] = rng.integers(0, 256)
    return values.tobytes()


def _junk(data: bytes, rng: np.random.Generator) -> bytes:
    return data + rng.bytes(int(rng.integers(1, 5000)))


def _doubled(data: bytes, rng: np.random.Generator) -> bytes:
    """Another file behind it, of any format."""
    encode = list(FORMATS.values())[int(rng.integers(len(FORMATS)))][1]
    return data + encode(drawn(rng))


def _huge(data: bytes, rng: np.random.Generator) -> bytes:
    """The header states another width, height or both."""
    changed = bytearray(data)
    places = _sizes(data)
    for place, code in places if rng.random() < 0.5 else [places[int(rng.integers(len(places)))]]:
        most = 2 ** (8 * struct.calcsize(code)) // (2 if code.endswith("i") else 1) - 1
        struct.pack_into(code, changed, place, min(int(rng.choice(_HUGE)), most))
    if data.startswith(b"\x89PNG"):
        struct.pack_into(">I", changed, 29, zlib.crc32(changed[12:29]))
    return bytes(changed)


def _sizes(data: bytes) -> list[tuple[int, str]]:
    """Where a sound file states its width and height, and in which form, as of `struct`."""
    if data.startswith(b"\x89PNG"):
        return [(16, ">I"), (20, ">I")]
    if data.startswith(b"BM"):
        return [(18, "<i"), (22, "<i")]
    if data.startswith(b"\xff\xd8"):
        frame = min(place for place in (data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) if place > 0)
        return [(frame + 7, ">H"), (frame + 5, ">H")]
    with tifffile.TiffFile(BytesIO(data)) as file:
        tags = [file.pages[0].tags[name] for name in ("ImageWidth", "ImageLength")]  # type: ignore[union-attr]
        codes = {3: "H", 4: "I", 16: "Q"}
        return [(tag.valueoffset, file.byteorder + codes[int(tag.dtype)]) for tag in tags]


DAMAGES: Mapping[str, Callable[[bytes, np.random.Generator], bytes]] = {
    "cut": _cut,
    "flipped": _flipped,
    "overwritten": _overwritten,
    "header": _header,
    "huge": _huge,
    "empty": lambda data, rng: b"",
    "junk": _junk,
    "doubled": _doubled,
    "renamed": lambda data, rng: data,
}


@dataclass(frozen=True)
class Case:
    """A damaged file.

    Attributes:
        name: Path below the folder of slides.
        format: Key of `FORMATS`.
        damage: Key of `DAMAGES`.
        data: Its bytes.
    """

    name: str
    format: str
    damage: str
    data: bytes


def damaged(index: int, seed: int) -> Case:
    """The index-th file of a seed; formats and damages take turns, so that each pair comes equally often."""
    rng = np.random.default_rng([seed, index])
    kind = list(FORMATS)[index % len(FORMATS)]
    damage = list(DAMAGES)[index // len(FORMATS) % len(DAMAGES)]
    suffix, encode = FORMATS[kind]
    if damage == "renamed":
        suffix = str(rng.choice([other for other in _SUFFIXES if other != suffix]))
    data = DAMAGES[damage](encode(drawn(rng)), rng)
    return Case(f"damaged/{index:06d}-{kind}-{damage}{suffix}".replace(" ", "_"), kind, damage, data)


# Running stage 1


def search_files(root: str, names: str, output: str, num_workers: int) -> None:
    """Stage 1 on the files below `root` that the JSON list `names` has; prints the peak memory of a worker in MB."""
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    with initialize_config_dir(str(CONF), version_base=None):
        paper: RegionFilter = instantiate(compose("regions/paper").regions)
    # Stretched to its least and greatest value, a channel hangs on single pixels, which JPEG moves.
    small = replace(paper, normalisation="none", min_size=12, min_fill_rate=0.5)
    search = Search(Path(root), small, {}, Tiling(2048, 512), None, Path(output) / "store", strict=False)
    found = Path(output) / "found"
    found.mkdir(parents=True)
    find_regions(search, json.loads(Path(names).read_text()), found, num_workers)
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)


@dataclass
class Tally:
    """What came of all files.

    Attributes:
        outcomes: Number of files by format, damage and outcome.
        reasons: Number of failures by the kind of reason.
        console: Number of lines on the console by their kind.
        findings: What should not be.
        peak: Most memory of a worker in MB.
    """

    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    console: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    peak: int = 0


class Fuzz:
    """Runs batches of damaged files, each with the sound ones, in a folder of its own."""

    def __init__(self, folder: Path, seed: int, num_workers: int, keep: Path | None) -> None:
        """Write the sound files and find out what they give alone; `keep` is where files with a finding are copied."""
        self.tally = Tally()
        self._folder, self._workers, self._keep = folder, num_workers, keep
        self.sound = []
        (folder / "sound").mkdir(parents=True)
        for number, (kind, (suffix, encode)) in enumerate(FORMATS.items()):
            name = f"sound/{kind.replace(' ', '_')}{suffix}"
            pixels = cv2.circle(drawn(np.random.default_rng([seed, 0, number])), (32, 32), 20, (90, 40, 160), -1)
            (folder / name).write_bytes(encode(np.asarray(pixels, np.uint8)))
            self.sound.append(name)
        self._alone = self._regions(self._search([], 120))
        for name in self.sound:
            if not self._alone.get(name) and "grey" not in name:
                self.tally.findings.append(f"{name} is sound and gives no region alone")

    def run(self, cases: Sequence[Case]) -> None:
        """A batch; the files are removed afterwards."""
        (self._folder / "damaged").mkdir()
        for case in cases:
            (self._folder / case.name).write_bytes(case.data)
        self._examine(cases)
        shutil.rmtree(self._folder / "damaged")

    def _examine(self, cases: Sequence[Case]) -> None:
        try:
            output = self._search([case.name for case in cases], 120 + len(cases))
        except _Ended as error:
            if len(cases) > 1:
                self._examine(cases[: len(cases) // 2])
                self._examine(cases[len(cases) // 2 :])
            else:
                self._find(cases[0], str(error))
                self.tally.outcomes[cases[0].format, cases[0].damage, "ended the run"] += 1
            return
        self._check(cases, output)

    def _search(self, names: Sequence[str], seconds: int) -> Path:
        output = self._folder / "output"
        shutil.rmtree(output, ignore_errors=True)
        listed = self._folder / "names.json"
        listed.write_text(json.dumps([*self.sound, *names]))
        code = "import sys; from fuzz_slides import search_files as run; run(*sys.argv[1:4], int(sys.argv[4]))"
        command = [sys.executable, "-c", code, str(self._folder), str(listed), str(output), str(self._workers)]
        printed, console = _ran(command, seconds)
        self.tally.peak = max(self.tally.peak, int(printed))
        self.tally.console.update(kind_of(line) for line in console.splitlines() if line.strip())
        return output / "found"

    def _regions(self, found: Path) -> dict[str, list[tuple[Any, ...]]]:
        """Rows of the sound files' regions with the bytes of the crops, by name."""
        table = read_table(found / "regions.csv", REGIONS)
        return {
            name: [(*row, (found / row[-1]).read_bytes()) for row in table[table["image"] == name].to_numpy().tolist()]
            for name in self.sound
        }

    def _check(self, cases: Sequence[Case], found: Path) -> None:
        read = Counter(read_table(found / "slides.csv", SLIDES)["image"])
        failures = read_table(found / "failures.csv", FAILURES)
        failed = Counter(failures["image"])
        reasons = dict(zip(failures["image"], failures["reason"], strict=True))
        for case in cases:
            if read[case.name] + failed[case.name] != 1:
                self._find(case, f"{read[case.name]} rows in slides.csv and {failed[case.name]} in failures.csv")
            outcome = "read" if read[case.name] else "refused"
            if case.name in reasons:
                reason = reasons[case.name]
                self.tally.reasons[kind_of(reason)] += 1
                if problem := flaw(reason):
                    self._find(case, f"{problem}: {reason!r}")
                outcome = "died" if "process that read this file died" in reason else outcome
            self.tally.outcomes[case.format, case.damage, outcome] += 1
        if strangers := {*read, *failed} - {case.name for case in cases} - set(self.sound):
            self.tally.findings.append(f"rows of files that were not given: {sorted(strangers)}")
        for name, regions in self._regions(found).items():
            if regions != self._alone[name]:
                self.tally.findings.append(f"{name} is sound and gives other regions beside {cases[0].name} ...")

    def _find(self, case: Case, what: str) -> None:
        self.tally.findings.append(f"{case.name}: {what}")
        if self._keep is not None:
            self._keep.mkdir(parents=True, exist_ok=True)
            (self._keep / Path(case.name).name).write_bytes(case.data)


class _Ended(Exception):
    """A run that did not end well, and how."""


def _ran(command: Sequence[str], seconds: int) -> tuple[str, str]:
    """What a command printed and what it wrote on the console."""
    process = subprocess.Popen(
        command,
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        printed, console = (text.decode(errors="replace") for text in process.communicate(timeout=seconds))
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        raise _Ended(f"the run does not end within {seconds} s") from error
    if process.returncode != 0:
        raise _Ended(f"the run ends with status {process.returncode}: {(console.splitlines() or ['nothing said'])[-1]}")
    return printed, console


def flaw(reason: str) -> str:
    """What is wrong with a reason; empty if it is one sentence that a user can read."""
    if "Traceback" in reason or "\n" in reason.strip():
        return "the reason has several lines"
    if not reason.endswith("."):
        return "the reason does not end with a full stop"
    if not reason.isprintable():
        return "the reason has characters that can't be printed"
    return f"the reason has {len(reason)} characters" if len(reason) > _LONGEST_REASON else ""


def kind_of(text: str) -> str:
    """A message without what differs from file to file: paths, texts of bytes, numbers."""
    text = re.sub(r"\S*/(damaged|sound)/\S+?\.\w+|(/[\w.+-]+){2,}", "FILE", text)
    text = re.sub(r"b'.*?'|b\".*?\"", "BYTES", text)
    return re.sub(r"0x[0-9a-fA-F]+|\b[0-9a-f]{12}\b|-?\d+(\.\d+)?", "N", text).strip()


# The report


def report(tally: Tally) -> None:
    """Print everything."""
    print(f"Of 100 files of each kind, so many are read (the rest are refused with a reason); {total(tally)} files:\n")
    print(f"| | {' | '.join(DAMAGES)} |\n|---|{'---|' * len(DAMAGES)}")
    for kind in FORMATS:
        print(f"| {kind} | {' | '.join(_share(tally, kind, damage) for damage in DAMAGES)} |")
    outcomes: Counter[str] = Counter()
    for (_, _, outcome), count in tally.outcomes.items():
        outcomes[outcome] += count
    print(f"\nOutcomes: {dict(outcomes)}; most memory of a worker: {tally.peak} MB")
    for title, counts in (("reasons", tally.reasons), ("lines on the console", tally.console)):
        print(f"\n{sum(counts.values())} {title}, {len(counts)} kinds:")
        for text, count in counts.most_common():
            print(f"{count:6}  {text[:240]}")
    print(f"\n{len(tally.findings)} findings")
    for finding in tally.findings:
        print(f"  {finding}")


def total(tally: Tally) -> int:
    """Number of damaged files."""
    return sum(tally.outcomes.values())


def _share(tally: Tally, kind: str, damage: str) -> str:
    counts = {outcome: tally.outcomes[kind, damage, outcome] for outcome in ("read", "refused", "died")}
    files = sum(counts.values())
    return f"{100 * counts['read'] / files:.0f}" if files else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all batches; 1 if there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5000, help="damaged files (default %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first, to repeat one (default 0)")
    parser.add_argument("--seed", type=int, default=0, help="of the drawings and the damage (default 0)")
    parser.add_argument("--batch", type=int, default=500, help="files a run (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes of stage 1 (default %(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where files with a finding are copied")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, tqdm(total=options.files, unit="file", disable=None) as bar:
        fuzz = Fuzz(Path(folder), options.seed, options.workers, options.keep)
        end = options.first + options.files
        for start in range(options.first, end, options.batch):
            cases = [damaged(index, options.seed) for index in range(start, min(start + options.batch, end))]
            fuzz.run(cases)
            bar.update(len(cases))
    report(fuzz.tally)
    return 1 if fuzz.tally.findings else 0


if __name__ == "__main__":
    sys.exit(main())
