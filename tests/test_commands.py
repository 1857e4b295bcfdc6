"""What the scripts do, tiny: regions and selections, and what happens to bad slides on the way."""

import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import tifffile
from tiny import configure, copied, on, refused

from activessf import commands, preparation
from activessf.data.images import image_size, read_image, write_png
from activessf.errors import InputError


def test_random_keeps_as_many_as_activessf(outputs, demo, run):
    kept = {}
    for name in ("activessf", "random"):
        folder = commands.select(configure(outputs, *on(demo), f"selection={name}", "fold=2"))
        kept[name] = pd.read_csv(folder / "selection.csv")["selected"].sum()
    assert kept["random"] == kept["activessf"] > 0


def test_preprocess_says_how_many_regions_even_if_none(outputs, demo):
    folder = commands.preprocess(configure(outputs, *on(demo), "regions.min_size=400"))
    assert pd.read_csv(folder / "regions.csv").empty


def test_selecting_with_selection_none_is_refused(outputs, demo):
    refused(outputs, *on(demo), "selection=none", match="selection=none selects nothing", stage=commands.select)


def test_corrupt_and_truncated_slides_stand_in_failures_and_the_rest_is_used(demo, tmp_path):
    folder = copied(demo, tmp_path / "data")
    whole = sorted((demo / "slides").glob("unlabeled_*"))[0].read_bytes()
    (folder / "slides" / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "slides" / "corrupt.png").write_bytes(b"no image")
    regions = commands.preprocess(configure(tmp_path / "out", *on(folder)))
    failures = pd.read_csv(regions / "failures.csv")
    assert failures["image"].tolist() == ["slides/corrupt.png", "slides/truncated.jpg"]
    assert json.loads((regions / "summary.json").read_text())["images"] == 20
    assert not pd.read_csv(regions / "regions.csv").empty
    # Pretraining on whole slides leaves the unreadable ones out as well.
    done = commands.train(configure(tmp_path / "out", *on(folder), "selection=none", "fold=0"))
    assert (done / "metrics.json").is_file()


def test_slides_smaller_than_a_cell_are_only_slides_without_regions(demo, tmp_path):
    folder = copied(demo, tmp_path / "data")
    write_png(np.full((5, 4, 3), 200, np.uint8), folder / "slides" / "tiny.png")
    regions = commands.preprocess(configure(tmp_path / "out", *on(folder)))
    assert pd.read_csv(regions / "failures.csv").empty


def test_preprocess_ends_with_a_page_and_makes_it_once(outputs, demo, capsys):
    config = configure(outputs, *on(demo), "quality.num_fields=2", "quality.num_crops=5", "seed=3")
    folder = commands.preprocess(config)
    pages = list((outputs / "stages" / "quality").glob("manifest-*/index.html"))
    assert any(f"{len(pd.read_csv(folder / 'regions.csv')):,} regions" in page.read_text() for page in pages)
    written = {page: page.stat().st_mtime_ns for page in pages}
    commands.preprocess(config)
    assert {page: page.stat().st_mtime_ns for page in (outputs / "stages" / "quality").glob("*/index.html")} == written


def test_shards_work_through_their_shares_and_the_same_command_joins_them(demo, tmp_path):
    whole = commands.preprocess(configure(tmp_path / "whole", *on(demo), "quality.num_fields=0"))
    for shard in range(3):
        commands.preprocess(configure(tmp_path / "parts", *on(demo), f"shard={shard}", "num_shards=3"))
        assert not (tmp_path / "parts" / "stages" / "regions").exists()
    joined = commands.preprocess(configure(tmp_path / "parts", *on(demo), "quality.num_fields=0"))
    assert joined.name == whole.name
    for name in ("regions", "rejected", "slides", "failures"):
        assert (joined / f"{name}.csv").read_bytes() == (whole / f"{name}.csv").read_bytes()


def test_a_shard_that_there_is_not(outputs, demo):
    for wrong in (["shard=3", "num_shards=3"], ["shard=-1"], ["num_shards=0"], ["shard=a"]):
        with pytest.raises(InputError, match="shard"):
            commands.preprocess(configure(outputs, *on(demo), *wrong))


@pytest.mark.parametrize("size", ["0", "-1", "2.5", "true", "large"])
def test_a_size_of_crops_that_cannot_be_is_refused(outputs, demo, size):
    with pytest.raises(InputError, match="crop_size=.* must be null, for a region's own box, or a whole number"):
        commands.preprocess(configure(outputs, *on(demo), f"crop_size={size}"))


def test_crops_of_another_size_are_other_regions(outputs, demo):
    boxes = commands.preprocess(configure(outputs, *on(demo), "quality.num_fields=0"))
    squares = commands.preprocess(configure(outputs, *on(demo), "quality.num_fields=0", "crop_size=60"))
    assert squares.name != boxes.name
    assert {image_size(crop) for crop in (squares / "crops").iterdir()} == {(60, 60)}


def test_a_slide_with_settings_of_its_own_has_other_regions(demo, tmp_path):
    name = sorted(path.name for path in (demo / "slides").iterdir())[0]
    table = tmp_path / "own.csv"
    table.write_text(f"image,min_size\nslides/{name},400\n")
    overrides = f"slide_overrides={table}"
    usual = commands.preprocess(configure(tmp_path, *on(demo), "quality.num_fields=0"))
    other = commands.preprocess(configure(tmp_path, *on(demo), "quality.num_fields=0", overrides))
    found = {folder: pd.read_csv(folder / "regions.csv").groupby("image").size().to_dict() for folder in (usual, other)}
    assert f"slides/{name}" in found[usual] and f"slides/{name}" not in found[other]
    found[usual].pop(f"slides/{name}")
    assert found[usual] == found[other]


def test_calibration_writes_a_preset_for_the_next_command(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "CONF", tmp_path)
    config = configure(tmp_path, *on(demo), "calibrate=own_stain", "calibration.num_fields=4")
    path = commands.preprocess(config)
    assert path == tmp_path / "regions" / "own_stain.yaml"
    assert (tmp_path / "calibration" / "own_stain" / "check.png").is_file()
    figures = json.loads((tmp_path / "calibration" / "own_stain" / "calibration.json").read_text())["figures"]
    # The other purple cells of the slides have no label, so that precision says nothing here.
    assert figures["check"]["after"]["recall"] >= 0.8
    with pytest.raises(InputError, match="There is a preset own_stain already"):
        commands.preprocess(config)


def test_slides_without_anything_but_a_whole_slide_give_regions_and_none_to_see_whole(demo, tmp_path):

    image = read_image(sorted((demo / "slides").iterdir())[0])
    root = tmp_path / "data"
    (root / "slides").mkdir(parents=True)
    cells = pd.read_csv(demo / "cells.csv", keep_default_na=False)
    for name in set(cells["image"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(demo / name, root / name)
    (root / "whole").mkdir()
    tifffile.imwrite(root / "whole/a.svs", image, tile=(128, 128), photometric="rgb")
    cells.to_csv(root / "cells.csv", index=False)
    given = ["data=manifest", f"data.root={root}", "data.slides=whole", "quality.num_fields=1"]
    folder = commands.preprocess(configure(tmp_path / "out", *given))
    assert len(pd.read_csv(folder / "regions.csv")) > 0
    with pytest.raises(InputError, match="is a whole slide, and pretraining on whole images"):
        commands.train(configure(tmp_path / "out", *given, "selection=none"))


def test_strict_minds_what_an_earlier_run_left_out(demo, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(demo, root)
    (root / "slides" / "bad.png").write_bytes(b"nothing")
    given = ["data=manifest", f"data.root={root}", "quality.num_fields=0"]
    commands.preprocess(configure(tmp_path / "out", *given))
    with pytest.raises(InputError, match=r"1 slide\(s\) could not be read, and strict=true; the first: .*bad.png"):
        commands.preprocess(configure(tmp_path / "out", *given, "strict=true"))


@pytest.mark.parametrize(
    "override",
    ["strict=maybe", "quality.num_fields=abc", "quality.num_crops=0", "quality.slides=a.png", "calibration.seed=-1",
     "calibration.num_fields=2.5", "calibration.check_share=abc", "calibration.apart=-5", "regions.stain_ranges=5",
     "regions.blur_kernel=1000001", "regions.blur_sigma=.inf", "regions.resolution=.inf"],
)  # fmt: skip
def test_settings_of_stage_1_that_can_not_be_are_one_sentence(demo, tmp_path, override):
    with pytest.raises(InputError, match=override.split("=")[0].split(".")[-1]):
        commands.preprocess(configure(tmp_path, *on(demo), override))
