import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from activessf.errors import InputError
from activessf.selection import feature_store
from activessf.selection.feature_store import FeatureStore, chosen_rows, crop_key, write_features


class Computed:
    """Features that are a file's length and first byte, two at a time; remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, paths: Sequence[Path]) -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(paths), 2):
            batch = paths[start : start + 2]
            self.asked += [path.name for path in batch]
            yield np.array([expected(path) for path in batch], np.float32)


def expected(path: Path) -> list[float]:
    content = path.read_bytes()
    return [len(content), content[0], 0.5]


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    (tmp_path / "crops").mkdir()
    files = [tmp_path / "crops" / f"{number}.png" for number in range(7)]
    for number, path in enumerate(files):
        path.write_bytes(bytes([65 + number]) * (number + 1))
    return files


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_store, "SHARD_BYTES", 4 * 3 * 4)  # four rows
    monkeypatch.setattr(feature_store, "BLOCK_ROWS", 3)


def filled(folder: Path, paths: Sequence[Path], compute: Computed) -> FeatureStore:
    store = FeatureStore(folder)
    store.complete(paths, [crop_key(path) for path in paths], compute)
    return store


def rows(store: FeatureStore, paths: Sequence[Path]) -> NDArray[np.float32]:
    return np.concatenate(list(store.blocks([crop_key(path) for path in paths])))


def test_a_crops_key_is_the_sha_256_of_its_bytes(tmp_path: Path, paths: list[Path]) -> None:
    assert crop_key(paths[2]).hex() == hashlib.sha256(b"CCC").hexdigest()
    with pytest.raises(InputError, match=r"missing\.png can't be read"):
        crop_key(tmp_path / "missing.png")


def test_features_come_back_in_the_order_asked_for(tmp_path: Path, paths: list[Path]) -> None:
    store = filled(tmp_path / "store", paths, Computed())
    order = [paths[index] for index in (6, 0, 3, 3, 5, 1, 2, 4)]
    for opened in (store, FeatureStore(tmp_path / "store")):
        np.testing.assert_array_equal(rows(opened, order), [expected(path) for path in order])
    assert len(list((tmp_path / "store").glob("*.keys.npy"))) == 2


def test_only_new_content_is_computed(tmp_path: Path, paths: list[Path]) -> None:
    compute = Computed()
    filled(tmp_path / "store", paths[:3], compute)
    (tmp_path / "copy.png").write_bytes(paths[1].read_bytes())
    again = filled(tmp_path / "store", [tmp_path / "copy.png", paths[4], *paths[:3], paths[4]], compute)
    assert compute.asked == ["0.png", "1.png", "2.png", "4.png"]
    np.testing.assert_array_equal(rows(again, [tmp_path / "copy.png"]), [expected(paths[1])])
    filled(tmp_path / "store", paths[:5:4], compute)
    assert len(compute.asked) == 4


def test_after_a_kill_what_was_kept_is_not_computed_again(tmp_path: Path, paths: list[Path]) -> None:
    class Killed(Computed):
        def __call__(self, paths: Sequence[Path]) -> Iterator[NDArray[np.float32]]:
            for number, batch in enumerate(super().__call__(paths)):
                if number == 3:
                    raise KeyboardInterrupt
                yield batch

    with pytest.raises(KeyboardInterrupt):
        filled(tmp_path / "store", paths, Killed())
    compute = Computed()
    store = filled(tmp_path / "store", paths, compute)
    assert compute.asked == ["4.png", "5.png", "6.png"]
    np.testing.assert_array_equal(rows(store, paths), [expected(path) for path in paths])


def test_two_that_fill_one_store_at_once_do_no_harm(tmp_path: Path, paths: list[Path]) -> None:
    other_paths = paths[3:]

    class Interrupted(Computed):
        def __call__(self, paths: Sequence[Path]) -> Iterator[NDArray[np.float32]]:
            filled(tmp_path / "store", other_paths, Computed())
            yield from super().__call__(paths)

    store = filled(tmp_path / "store", paths, Interrupted())
    for opened in (store, FeatureStore(tmp_path / "store")):
        np.testing.assert_array_equal(rows(opened, paths), [expected(path) for path in paths])


def test_keys_that_end_with_zeros_are_told_apart(tmp_path: Path, paths: list[Path]) -> None:
    keys = [bytes(32), b"\1" + bytes(31), bytes(31) + b"\1", b"\1" + bytes(30) + b"\1"]
    store = FeatureStore(tmp_path / "store")
    assert not store.has(keys).any()
    store.complete(paths[:3], keys[:3], Computed())
    assert store.has(keys).tolist() == [True, True, True, False]
    found = np.concatenate(list(store.blocks([keys[2], keys[0], keys[1]])))
    np.testing.assert_array_equal(found, [expected(paths[index]) for index in (2, 0, 1)])


@pytest.mark.parametrize("damage", ["cut features", "cut keys", "no features", "fewer keys"])
def test_a_damaged_shard_is_as_good_as_none(tmp_path: Path, paths: list[Path], damage: str) -> None:
    folder = tmp_path / "store"
    filled(folder, paths[:4], Computed())
    (keys,), (features,) = folder.glob("*.keys.npy"), folder.glob("*.features.npy")
    if damage == "no features":
        features.unlink()
    elif damage == "fewer keys":
        np.save(keys, np.load(keys)[:2])
    else:
        path = features if damage == "cut features" else keys
        path.write_bytes(path.read_bytes()[:-5])
    compute = Computed()
    store = filled(folder, paths[:4], compute)
    assert len(compute.asked) == 4
    np.testing.assert_array_equal(rows(store, paths[:4]), [expected(path) for path in paths[:4]])


def test_written_blocks_are_a_plain_npy_file(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(11, 5)).astype(np.float32)
    write_features((values[start : start + 4] for start in range(0, 11, 4)), 11, tmp_path / "a.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", allow_pickle=False), values)
    assert np.load(tmp_path / "a.npy", mmap_mode="r").dtype == np.float32
    chosen = np.array([10, 0, 0, 7, 3])
    found = list(chosen_rows(tmp_path / "a.npy", chosen))
    assert [len(block) for block in found] == [3, 2]
    np.testing.assert_array_equal(np.concatenate(found), values[chosen])
