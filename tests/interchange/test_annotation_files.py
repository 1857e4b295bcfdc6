from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activessf.errors import InputError
from activessf.interchange.files import file_names, files_of_images

NAMES = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "s/"]),
    st.sampled_from(["a", "A", "a.png", "b"]),
    st.sampled_from(["", ".png", ".jpg", ".PNG"]),
)


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_files_are_named_by_stem_or_where_that_is_not_enough_by_the_whole_name() -> None:
    names = file_names(["a.png", "s/a.png", "b.png", "b.jpg", "c.png", "c.png.tif", "D.png", "d.jpg"], ".xml")
    assert list(names.values()) == [
        "a.xml", "s/a.xml", "b.png.xml", "b.jpg.xml", "c.xml", "c.png.tif.xml", "D.png.xml", "d.jpg.xml",
    ]  # fmt: skip


@given(st.lists(NAMES, min_size=1, unique=True))
def test_no_two_images_have_one_file(images: list[str]) -> None:
    names = file_names(images, ".xml")
    assert list(names) == images and len(set(names.values())) == len(images)


def test_files_are_found_by_stem_and_by_whole_name_in_mirrored_folders(tmp_path: Path) -> None:
    folder = touch(tmp_path, "a.xml", "s/a.jpg.xml", "s/b.XML", ".hidden/c.xml", "._a.xml", "note.txt")
    found = files_of_images(folder, ["a.png", "s/a.jpg", "s/b.png", "c.png"], ".xml")
    assert {image: path.relative_to(folder).as_posix() for image, path in found.items()} == {
        "a.png": "a.xml", "s/a.jpg": "s/a.jpg.xml", "s/b.png": "s/b.XML",
    }  # fmt: skip


def test_files_of_no_image_are_counted(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"^2 annotation file\(s\) belong to no image .* the first is .*b\.xml"):
        assert list(files_of_images(touch(tmp_path, "a.xml", "b.xml", "c.xml"), ["a.png"], ".xml")) == ["a.png"]


@pytest.mark.parametrize(
    ("files", "images", "message"),
    [
        (["b.xml"], ["a.png"], r"holds the annotation of none of the 1 images \(the first file is .*b\.xml\)"),
        (["b.txt"], ["a.png"], r"none of the 1 images \(it has no such file\)"),
        (["s/a.xml"], ["a.png"], "in the same subfolder"),
        (["a.xml", "a.png.xml"], ["a.png"], r"a\.png\.xml and .*a\.xml both belong to the image a\.png"),
        (["a.xml"], ["a.png", "a.jpg"], r"a\.xml could belong to a\.jpg or to another image; name it a\.jpg\.xml"),
    ],
)
def test_what_is_not_certain_is_refused(files: list[str], images: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        files_of_images(touch(tmp_path, *files), images, ".xml")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere is no folder; it should hold a \.xml file an image"):
        files_of_images(tmp_path / "nowhere", ["a.png"], ".xml")
