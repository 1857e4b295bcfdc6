"""Made-up headers: nobody here has a slide in DICOM."""

from pathlib import Path

from activessf.data.dicom import files_of_series, one_file_a_series
from activessf.data.source import images_below


def dicom(path: Path, series: str) -> Path:
    """The start of a DICOM file (PS3.10, explicit types, little-endian): preamble, magic, two elements."""
    path.parent.mkdir(parents=True, exist_ok=True)
    uid = series.encode() + (b"\0" if len(series) % 2 else b"")
    study = b"\x20\x00\x0d\x00UI" + (4).to_bytes(2, "little") + b"1.2\0"
    element = b"\x20\x00\x0e\x00UI" + len(uid).to_bytes(2, "little") + uid
    path.write_bytes(b"\0" * 128 + b"DICM" + study + element + b"\x28\x00\x10\x00US\x02\x00\x00\x01")
    return path


def test_the_first_file_of_a_series_stands_for_all(tmp_path: Path) -> None:
    levels = [dicom(tmp_path / f"slide/{name}.dcm", "1.2.840.7") for name in ("level-2", "level-0", "level-1")]
    other = dicom(tmp_path / "slide/other.dcm", "1.2.840.70")
    assert one_file_a_series([*levels, other]) == [tmp_path / "slide/level-0.dcm", other]


def test_series_in_two_folders_are_two_slides(tmp_path: Path) -> None:
    files = [dicom(tmp_path / f"{name}/a.dcm", "1.2.3") for name in ("copy", "original")]
    assert one_file_a_series(files) == files


def test_files_without_a_series_are_kept_for_their_reader_to_judge(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.dcm", "b.dcm", "c.dcm", "d.png")]
    files[0].write_bytes(b"")
    files[1].write_bytes(b"\x20\x00\x0e\x00UI\xff\xff")
    files[3].write_bytes(b"\x20\x00\x0e\x00UI\x02\x001\0")
    assert one_file_a_series(reversed(files)) == files


def test_a_source_lists_a_series_once_and_whole_slides_by_their_suffixes(tmp_path: Path) -> None:
    for name in ("1", "2"):
        dicom(tmp_path / f"slides/{name}.dcm", "1.2.3")
    for name in ("a.svs", "b.NDPI", "c.txt", "c.mrxs", "c/Data0000.dat"):
        (tmp_path / "slides" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "slides" / name).touch()
    assert images_below(tmp_path, "slides") == ["slides/1.dcm", "slides/a.svs", "slides/b.NDPI", "slides/c.mrxs"]


def test_a_series_that_is_only_referred_to_is_not_the_files_own(tmp_path: Path) -> None:
    """In a sequence of referenced series, which comes first, no study stands just before the series."""
    files = [dicom(tmp_path / f"{name}.dcm", series) for name, series in (("a", "1.2.3"), ("b", "1.2.4"))]
    referenced = b"\x08\x00\x15\x11SQ" + b"\x20\x00\x0e\x00UI" + (4).to_bytes(2, "little") + b"9.9\0"
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content[:132] + referenced + content[132:])
    assert one_file_a_series(files) == files


def test_the_files_of_a_series_are_those_of_its_folder_that_name_it(tmp_path: Path) -> None:
    levels = [dicom(tmp_path / f"{name}.dcm", "1.2.3") for name in ("a", "c")]
    other = dicom(tmp_path / "b.dcm", "1.2.4")
    (tmp_path / "d.dcm").touch()
    assert files_of_series(levels[1]) == levels and files_of_series(other) == [other]
    assert files_of_series(tmp_path / "d.dcm") == [tmp_path / "d.dcm"]
