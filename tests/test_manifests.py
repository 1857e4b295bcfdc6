import os
import stat

import numpy as np
import pandas as pd
import pytest

from activessf.errors import InputError
from activessf.manifests import json_if_there, read_json, read_table, replacing, write_json, write_table


def test_numbers_keep_their_full_precision_and_texts_stay_texts(tmp_path):
    values = np.random.default_rng(0).normal(size=5) * 10.0 ** np.arange(-8, 12, 4)
    frame = pd.DataFrame({"image": ["007", "NA", "", "1e5", 'a,"b"'], "distance": values})
    write_table(frame, tmp_path / "table.csv")
    again = read_table(tmp_path / "table.csv", ["image", "distance"])
    assert again["image"].tolist() == frame["image"].tolist()
    assert (again["distance"].to_numpy() == values).all()


def test_a_header_with_a_byte_order_mark_and_spaces_is_read(tmp_path):
    (tmp_path / "cells.csv").write_bytes(b"\xef\xbb\xbfimage, label\r\na.png, x\r\n")
    assert read_table(tmp_path / "cells.csv", ["image", "label"]).to_dict("list") == {
        "image": ["a.png"],
        "label": ["x"],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "can't be read as a CSV file with a header"),
        (b"image\na.png\n", "lacks the column label; it has image"),
        (b"image,label\na.png,x,y\n", "more fields than its header"),
        (b"image,label\n\xff\xfe,x\n", "can't be read as a CSV file"),
    ],
)
def test_a_bad_table_is_refused_with_the_reason(tmp_path, content, message):
    (tmp_path / "cells.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "cells.csv", ["image", "label"])


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_table(tmp_path / "cells.csv", [])
    with pytest.raises(InputError, match="can't be opened: Is a directory"):
        read_table(tmp_path, [])
    with pytest.raises(InputError, match="does not exist"):
        read_json(tmp_path / "x.json")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    write_json({"a": 1}, tmp_path / "x.json")
    with pytest.raises(RuntimeError, match="broke"), replacing(tmp_path / "x.json") as temporary:
        temporary.write_text("half")
        raise RuntimeError("broke")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json({"a": float("nan")}, tmp_path / "x.json")
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"] and read_json(tmp_path / "x.json") == {"a": 1}


def test_results_can_be_read_by_others(tmp_path):
    write_json([], tmp_path / "x.json")
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "x.json").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b'{"a": [1]}', {"a": [1]}),
        (b"[1]", {}),
        (b'{"a": [1', {}),
        (b"\xff\xfe", {}),
        (None, {}),
    ],
)
def test_json_that_can_not_be_read_counts_as_none(tmp_path, content, found):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    assert json_if_there(tmp_path / "a.json") == found
