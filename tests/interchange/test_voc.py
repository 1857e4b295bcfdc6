from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from activessf.errors import InputError
from activessf.interchange.voc import read_voc, read_voc_file, write_voc

# As in the development kit of the challenge, with what it has and we don't need.
BY_HAND = """<annotation>
    <folder>VOC2007</folder><filename>another.jpg</filename>
    <source><database>The VOC2007 Database</database></source>
    <size><width>353</width><height>500</height><depth>3</depth></size>
    <segmented>0</segmented>
    <object>
        <name>dog</name><pose>Left</pose><truncated>1</truncated><difficult>0</difficult>
        <bndbox><xmin>48</xmin><ymin>240</ymin><xmax>195</xmax><ymax>371</ymax></bndbox>
        <part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
    </object>
    <object>
        <name> A &amp; B </name>
        <bndbox><xmax>353.0</xmax><xmin>1</xmin><ymax>1</ymax><ymin>1</ymin></bndbox>
    </object>
</annotation>
"""


def one(corners: str = "1 1 2 2", size: str = "64 48", name: str = "<name>n</name>") -> str:
    xmin, ymin, xmax, ymax = corners.split(" ")
    width, height = size.split(" ")
    box = f"<xmin>{xmin}</xmin><ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
    sides = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation>{sides}<object>{name}<bndbox>{box}</bndbox></object></annotation>"


def test_a_file_by_hand_is_known_by_its_own_name_and_counts_from_one(tmp_path: Path) -> None:
    (tmp_path / "000001.xml").write_text(BY_HAND)
    cells = read_voc(tmp_path, ["000001.jpg", "000002.jpg"])
    assert cells[["image", "label", "x", "y", "width", "height"]].to_numpy().tolist() == [
        ["000001.jpg", "dog", 47, 239, 148, 132],  # 48..195 are 148 columns
        ["000001.jpg", "A & B", 0, 0, 353, 1],
    ]


def test_only_the_objects_of_a_name_need_be_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(BY_HAND.replace("<xmin>1</xmin><ymax>", "<xmin>x</xmin><ymax>"))
    assert [row["label"] for row in read_voc_file(path, only="dog")] == ["dog"]
    with pytest.raises(InputError, match=r"xmin of object 2 \(A & B\) is 'x', which is no number"):
        read_voc_file(path)


@pytest.mark.parametrize(
    ("corners", "box"),
    [
        ("1 1 64 48", [0, 0, 64, 48]),
        ("0 0 65 49", [0, 0, 64, 48]),  # counted from 0, or beyond the border: cut off
        ("-3 40 5 60", [0, 39, 5, 9]),
        ("1.5 2.25 3 4", [0.5, 1.25, 2.5, 2.75]),
        ("1.2 1 1 1", [0.2, 0, 0.8, 1]),
        ("1e1 1 1.2e1 1", [9, 0, 3, 1]),
    ],
)
def test_corners_become_boxes_inside_the_image(corners: str, box: list[float], tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(one(corners))
    (row,) = read_voc_file(path)
    assert [row[side] for side in ("x", "y", "width", "height")] == box


def test_what_is_written_is_what_the_format_wants(tmp_path: Path) -> None:
    cells = pd.DataFrame({"image": ["s/a.png"], "label": ["<A&B>"], "x": [2.0], "y": [3], "width": [1], "height": [5]})
    write_voc(cells, {"s/a.png": (20, 10), "b.png": (4, 4)}, tmp_path)
    root = ElementTree.parse(tmp_path / "s/a.xml").getroot()
    paths = ["filename", "size/width", "size/height", "size/depth", "object/name", "object/difficult"]
    assert [root.findtext(path) for path in paths] == ["a.png", "20", "10", "3", "<A&B>", "0"]
    corners = {child.tag: child.text for child in root.iterfind("object/bndbox/*")}
    assert corners == {"xmin": "3", "ymin": "4", "xmax": "3", "ymax": "8"}
    assert ElementTree.parse(tmp_path / "b.xml").findtext("size/width") == "4"
    assert not ElementTree.parse(tmp_path / "b.xml").findall("object")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (one(name=""), "the name of object 1 is None; it must be a text"),
        (one(name="<name> </name>"), "the name of object 1 is ' '"),
        (one("1 1 inf 2"), r"xmax of object 1 \(n\) is inf, which is not a finite"),
        (one("nan 1 2 2"), r"xmin of object 1 \(n\) is nan"),
        (one(" 1 2 2".replace(" ", " ", 1)), r"xmin of object 1 \(n\) is '', which is no number"),
        (one("1_0 1 20 2"), r"xmin of object 1 \(n\) is '1_0', which is no number"),
        (one("5 5 3 9"), r"object 1 \(n\) has no area \(width=-1, height=5\)"),
        (one("70 5 80 9"), r"object 1 \(n\) has no area \(width=-5, height=5\)"),  # outside the image
        (one(size="0 48"), r"the image's width \(size/width\) is 0"),
        (one(size="64 "), r"the image's height \(size/height\) is '', which is no number"),
        ("<annotation/>", r"the image's width \(size/width\) is ''"),
        ("<annotation><object>", "it is no XML"),
        ('<?xml version="1.0" encoding="nonsense"?><annotation/>', "it is no XML"),
        ("<!DOCTYPE annotation>" + one(), "it declares a document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "it declares a document type"),
    ],
)
def test_what_is_wrong_is_said_with_the_file_and_the_object(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(InputError, match=rf"a\.xml can't be read as a Pascal VOC annotation: {message}"):
        read_voc(tmp_path, ["a.png"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_in_any_encoding_before_they_grow(encoding: str, tmp_path: Path) -> None:
    entities = '<!ENTITY e0 "lol">' + "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 4))
    text = f"<!DOCTYPE a [{entities}]>" + one(name="<name>&e3;</name>")
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))
    with pytest.raises(InputError, match="it declares a document type"):
        read_voc_file(tmp_path / "a.xml")


def test_another_encoding_may_be_declared(tmp_path: Path) -> None:
    text = '<?xml version="1.0" encoding="ISO-8859-1"?>' + one(name="<name>Zelle ä</name>")
    (tmp_path / "a.xml").write_bytes(text.encode("latin-1"))
    assert read_voc_file(tmp_path / "a.xml")[0]["label"] == "Zelle ä"
