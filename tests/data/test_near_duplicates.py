import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from activessf.data import near_duplicates
from activessf.data.images import read_image, write_png
from activessf.data.near_duplicates import find_duplicates, spanning_folds, spanning_sentence

Image = NDArray[np.uint8]


def cell(seed: int, size: int = 80) -> Image:
    """A round pale red cell in the middle, as all others, with a texture and noise of its own."""
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[:size, :size] - size / 2
    inside = (np.hypot(ys, xs) < size * 0.33).astype(np.float32)[..., None]
    texture = cv2.resize(rng.normal(0, 9, (12, 12)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    image = np.float32([232, 222, 224]) * (1 - inside) + np.float32([214, 150, 160]) * inside
    image = image + texture[..., None] + rng.normal(0, 3, (size, size, 1))
    return np.clip(image, 0, 255).astype(np.uint8)


def write(images: list[Image], folder: Path) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{index:03d}.png" for index in range(len(images))]
    for name, image in zip(names, images, strict=True):
        write_png(image, folder / name)
    return names


def sets(table: pd.DataFrame) -> set[frozenset[str]]:
    return {frozenset(members["crop"]) for _, members in table.groupby("set")}


def saved_anew(image: Image) -> Image:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 70])
    assert done
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


CHANGES: dict[str, Callable[[Image], Image]] = {
    "saved anew": saved_anew,
    "scaled up": lambda image: cv2.resize(image, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC),
    "scaled down": lambda image: cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA),
    "brighter": lambda image: np.clip(image * 1.08 + 4, 0, 255).astype(np.uint8),
    "of another colour": lambda image: np.clip(image * np.float32([1.05, 0.9, 1.0]), 0, 255).astype(np.uint8),
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "upside down": lambda image: np.ascontiguousarray(image[::-1]),
    "a quarter turn": lambda image: np.ascontiguousarray(np.rot90(image)),
    "three quarters": lambda image: np.ascontiguousarray(np.rot90(image, 3)),
    "transposed": lambda image: np.ascontiguousarray(image.swapaxes(0, 1)),
    "turned and saved anew": lambda image: saved_anew(np.ascontiguousarray(np.rot90(image, 2))),
    "cut a pixel smaller": lambda image: image[:-1, 1:],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_copy_is_found_among_cells_that_look_alike(change: Callable[[Image], Image], tmp_path: Path) -> None:
    images = [cell(seed) for seed in range(30)]
    names = write([*images, change(images[7])], tmp_path)
    table = find_duplicates(tmp_path, names, 1)
    assert sets(table) == {frozenset({"007.png", "030.png"})}
    assert list(table["like"]) == ["030.png", "007.png"]


def test_different_cells_of_the_same_look_are_no_duplicates(tmp_path: Path) -> None:
    table = find_duplicates(tmp_path, write([cell(seed) for seed in range(200)], tmp_path), 2)
    assert table.empty and list(table.columns) == list(near_duplicates.DUPLICATES)


def test_equal_pixels_make_a_set_even_without_any_structure(tmp_path: Path) -> None:
    flat, other = (np.full((20, 30, 3), value, np.uint8) for value in (200, 201))
    names = write([flat, cell(0), other, flat, flat, np.full((30, 20, 3), 200, np.uint8)], tmp_path)
    table = find_duplicates(tmp_path, names, 1)
    assert sets(table) == {frozenset({"000.png", "003.png", "004.png"})}
    assert (table["bits"] == 0).all() and (table["correlation"] == 1).all()


def test_a_copy_of_a_copy_is_in_the_set_of_the_first(tmp_path: Path) -> None:
    first, other = cell(1), cell(2)
    names = write([first, saved_anew(first), other, first, other], tmp_path)
    assert sets(find_duplicates(tmp_path, names, 1)) == {
        frozenset({"000.png", "001.png", "003.png"}),
        frozenset({"002.png", "004.png"}),
    }


def naive_pairs(images: list[Image]) -> set[tuple[int, int]]:
    """All pairs one by one, with OpenCV's cosine transform and NumPy's correlation, of really turned pictures."""

    def small(image: Image) -> NDArray[np.float32]:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        way = cv2.INTER_AREA if min(grey.shape) >= 32 else cv2.INTER_LINEAR
        return cv2.resize(grey, (32, 32), interpolation=way)

    def bits(picture: NDArray[np.float32]) -> NDArray[np.bool_]:
        return cv2.dct(np.ascontiguousarray(picture))[:8, :8].ravel()[1:] > 0

    def detail(picture: NDArray[np.float32]) -> NDArray[np.float32]:
        picture = np.ascontiguousarray(picture)
        fine = picture - cv2.GaussianBlur(picture, (0, 0), 2.0)
        contrast = np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 2.0))
        return (fine / (contrast + 0.5)).ravel()

    pairs = set()
    for second in range(len(images)):
        picture = small(images[second])
        laid = [np.rot90(side, turn) for turn in range(4) for side in (picture, picture[:, ::-1])]
        for first in range(second):
            other = small(images[first])
            for way in laid:
                differing = int((bits(other) != bits(way)).sum())
                if differing <= 8 and np.corrcoef(detail(other), detail(way))[0, 1] >= 0.8:
                    pairs.add((first, second))
    return pairs


@pytest.mark.parametrize("rows", [5, 2048])
def test_the_pairs_are_those_of_a_naive_search(rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_ROWS", rows)
    monkeypatch.setattr(near_duplicates, "_PAIRS", 3)
    rng = np.random.default_rng(0)
    images = [cell(seed, int(rng.integers(24, 60))) for seed in range(10)]
    images += [change(images[index % 10]) for index, change in enumerate(CHANGES.values())]
    blurred = [cv2.GaussianBlur(images[index], (0, 0), 0.4 + 0.25 * index) for index in range(8)]
    images += [np.asarray(image, np.uint8) for image in blurred]
    names = write(images, tmp_path)
    expected = naive_pairs([read_image(tmp_path / name) for name in names])
    assert 12 <= len(expected) < len(images) * (len(images) - 1) / 2
    graph = {name: {name} for name in names}
    for first, second in expected:
        merged = graph[names[first]] | graph[names[second]]
        for name in merged:
            graph[name] = merged
    found = sets(find_duplicates(tmp_path, names, 1))
    assert found == {frozenset(group) for group in graph.values() if len(group) > 1}


def test_the_number_of_threads_makes_no_difference(tmp_path: Path) -> None:
    images = [cell(seed % 9) for seed in range(20)]
    names = write([saved_anew(image) if index % 2 else image for index, image in enumerate(images)], tmp_path)
    one, three = (find_duplicates(tmp_path, names, workers) for workers in (1, 3))
    assert len(one) == 20
    pd.testing.assert_frame_equal(one, three)


def test_contents_are_told_apart_by_their_shape_too(tmp_path: Path) -> None:
    picture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    same_bytes = picture.reshape(4, 2, 3)
    assert hashlib.sha256(picture.tobytes()).digest() == hashlib.sha256(same_bytes.tobytes()).digest()
    contents = [near_duplicates._picture(image)[0] for image in (picture, same_bytes)]
    assert contents[0] != contents[1]


def folds_of(folds: list[int]) -> pd.DataFrame:
    count = len(folds)
    return pd.DataFrame(
        {
            "image": [f"slide_{index}.png" for index in range(count)], "x": 1, "y": 2, "width": 3, "height": 4,
            "group": "", "label": "a", "fold": folds, "crop": [f"{index}.png" for index in range(count)],
        }
    )  # fmt: skip


def test_only_sets_in_more_than_one_fold_span_folds() -> None:
    found = pd.DataFrame(
        {"crop": ["0.png", "1.png", "2.png", "3.png", "4.png"], "set": [0, 0, 1, 1, 1], "like": "", "bits": 0,
         "correlation": 1.0}
    )  # fmt: skip
    spanning = spanning_folds(found, folds_of([0, 0, 1, 2, 1, 2]))
    assert list(spanning["crop"]) == ["2.png", "4.png", "3.png"] and set(spanning["set"]) == {1}
    sentence = spanning_sentence(spanning)
    assert sentence.startswith("3 labeled cells") and "'slide_2.png' (fold 1) and 'slide_3.png' (fold 2)" in sentence
    assert spanning_sentence(spanning_folds(found, folds_of([3] * 6))) == ""
