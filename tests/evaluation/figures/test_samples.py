from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from activessf.data.images import write_png
from activessf.evaluation.figures.samples import draw_samples

WriteRun = Callable[..., Path]


def write_cells(folder: Path, labels: list[str], groups: list[str]) -> pd.DataFrame:
    """Cells whose crops are 10 x 10 pixels, all of the row's number."""
    (folder / "crops").mkdir(parents=True)
    crops = [f"crops/{row}.png" for row in range(len(labels))]
    for row, crop in enumerate(crops):
        write_png(np.full((10, 10, 3), row, np.uint8), folder / crop)
    images = [f"{row % 3}.png" for row in range(len(labels))]
    return pd.DataFrame({"image": images, "label": labels, "group": groups, "crop": crops})


def rows(samples: list[np.ndarray]) -> list[int]:
    return [int(pixels[0, 0, 0]) for pixels in samples]


def test_crops_are_of_their_class_and_by_turns_of_every_group(tmp_path: Path) -> None:
    groups = ["one"] * 20 + ["two"] * 2 + ["three"]
    cells = write_cells(tmp_path, ["a"] * 23 + ["b"] * 2, [*groups, "", ""])
    for seed in range(20):
        samples = draw_samples(cells, tmp_path, 4, np.random.default_rng(seed))
        assert len(samples["a"]) == 4 and len(set(rows(samples["a"]))) == 4
        assert {groups[row] for row in rows(samples["a"])[:3]} == {"one", "two", "three"}
        assert sorted(rows(samples["b"])) == [23, 24]


def test_the_same_seed_draws_the_same_crops_and_another_draws_others(tmp_path: Path) -> None:
    cells = write_cells(tmp_path, ["a"] * 30, [""] * 30)
    drawn = [rows(draw_samples(cells, tmp_path, 6, np.random.default_rng(seed))["a"]) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_crop_that_can_not_be_read_is_passed_over(tmp_path: Path) -> None:
    cells = write_cells(tmp_path, ["a"] * 4, [""] * 4)
    (tmp_path / "crops/1.png").write_bytes(b"no image")
    (tmp_path / "crops/2.png").unlink()
    samples = draw_samples(cells, tmp_path, 4, np.random.default_rng(0))
    assert sorted(rows(samples["a"])) == [0, 3]


def test_large_crops_are_reduced_in_proportion(tmp_path: Path) -> None:
    cells = write_cells(tmp_path, ["a"], [""])
    write_png(np.zeros((400, 200, 3), np.uint8), tmp_path / "crops/0.png")
    assert draw_samples(cells, tmp_path, 1, np.random.default_rng(0))["a"][0].shape == (160, 80, 3)
