"""Features kept by the content of their crops, so that no crop is computed twice, whatever set it stands in.

The features of one extractor are a folder `<root>/<fingerprint>/` of shards: `<shard>.features.npy`, (n, d), and
`<shard>.keys.npy`, the SHA-256 of the n crops' files. Shards are only added, each published by renames with the keys
last; two processes that compute the same crops do no harm, and one that is killed loses its last shard at most.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from activessf.errors import InputError
from activessf.manifests import replacing

Rows = NDArray[np.float32]  # features, (n, d)
Compute = Callable[[Sequence[Path]], Iterator[Rows]]

SHARD_BYTES = 2**26
BLOCK_ROWS = 1024
_KEYS, _FEATURES = ".keys.npy", ".features.npy"
_KEY_BYTES = 32
_KEY_TYPE = f"S{_KEY_BYTES}"  # all are of full length, so that zeros at their ends do no harm


def crop_key(path: Path) -> bytes:
    """SHA-256 of a crop's file.

    Raises:
        InputError: The file can't be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        raise InputError(
            f"The crop {path} can't be read ({error.strerror}); remove its folder to make it anew."
        ) from error


class FeatureStore:
    """The features of one extractor by the keys of crops.

    Args:
        folder: Where they are; made when there is something to keep.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shards: list[Path] = []
        # Arrays, since a dictionary of a million keys takes hundreds of megabytes.
        self._keys = np.empty(0, _KEY_TYPE)  # sorted
        self._places = np.empty((0, 2), np.int64)  # shard and row of each
        self._look()

    def has(self, keys: Sequence[bytes]) -> NDArray[np.bool_]:
        """Whether the features of each crop are here, (n,)."""
        if not len(self._keys):
            return np.zeros(len(keys), bool)
        wanted = np.array(keys, _KEY_TYPE)
        nearest = np.searchsorted(self._keys, wanted).clip(max=len(self._keys) - 1)
        found: NDArray[np.bool_] = self._keys[nearest] == wanted
        return found

    def complete(self, paths: Sequence[Path], keys: Sequence[bytes], compute: Compute) -> None:
        """Compute and keep the features of those crops that are not here yet.

        Args:
            paths: The crops.
            keys: Their keys.
            compute: Gives the features of files in their order, some at a time.

        Raises:
            InputError: `compute` refuses a file.
        """
        missing = {key: path for key, path, here in zip(keys, paths, self.has(keys), strict=True) if not here}
        if not missing:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        waiting: list[Rows] = []
        done = iter(missing)
        for batch in compute(list(missing.values())):
            waiting.append(batch)
            if sum(rows.nbytes for rows in waiting) >= SHARD_BYTES:
                self._keep(done, waiting)
        if waiting:
            self._keep(done, waiting)
        self._look()

    def blocks(self, keys: Sequence[bytes]) -> Iterator[Rows]:
        """The features of crops in the order of their keys, a block at a time.

        All of them must be here, see `complete`.
        """
        for start in range(0, len(keys), BLOCK_ROWS):
            wanted = keys[start : start + BLOCK_ROWS]
            assert self.has(wanted).all()
            places = self._places[np.searchsorted(self._keys, np.array(wanted, _KEY_TYPE))]
            parts = {int(shard): self._rows(int(shard), places) for shard in np.unique(places[:, 0])}
            block = np.empty((len(places), next(iter(parts.values())).shape[1]), np.float32)
            for shard, rows in parts.items():
                block[places[:, 0] == shard] = rows
            yield block

    def _rows(self, shard: int, places: NDArray[np.int_]) -> Rows:
        features: Rows = np.load(self._shards[shard], mmap_mode="r", allow_pickle=False)  # see `chosen_rows`
        chosen: Rows = features[places[places[:, 0] == shard, 1]]
        return chosen

    def _keep(self, keys: Iterator[bytes], waiting: list[Rows]) -> None:
        features = np.concatenate(waiting)
        waiting.clear()
        own = b"".join(next(keys) for _ in range(len(features)))
        name = hashlib.sha256(own).hexdigest()[:16]
        for suffix, values in (
            (_FEATURES, features),
            (_KEYS, np.frombuffer(own, np.uint8).reshape(-1, _KEY_BYTES)),
        ):
            with replacing(self._folder / f"{name}{suffix}") as temporary:
                np.save(temporary, values, allow_pickle=False)

    def _look(self) -> None:
        """Find the shards that are there; one that a power cut has damaged is as good as none."""
        found, places = [self._keys], [self._places]
        for path in sorted(self._folder.glob(f"[!.]*{_KEYS}")):
            shard = path.with_name(path.name.removesuffix(_KEYS) + _FEATURES)
            if shard in self._shards:
                continue
            try:
                keys = np.load(path, allow_pickle=False)
                features = np.load(shard, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError):
                continue
            if keys.shape != (len(features), _KEY_BYTES) or features.ndim != 2:
                continue
            self._shards.append(shard)
            found.append(np.ascontiguousarray(keys).view(_KEY_TYPE).ravel())
            number = np.full(len(keys), len(self._shards) - 1)
            places.append(np.stack([number, np.arange(len(keys))], axis=1))
        # Of a crop that two processes have computed, either will do.
        self._keys, first = np.unique(np.concatenate(found), return_index=True)
        self._places = np.concatenate(places)[first]


def write_features(blocks: Iterable[Rows], num_rows: int, path: Path) -> None:
    """Write rows that come some at a time as one float32 .npy file, (num_rows, d), never all in memory."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        written = 0
        for block in blocks:
            if written == 0:
                shape = (num_rows, block.shape[1])
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(block, "<f4").data)
            written += len(block)
        assert written == num_rows


def chosen_rows(path: Path, rows: NDArray[np.intp]) -> Iterator[Rows]:
    """Some rows of a .npy file of features, a block at a time."""
    for start in range(0, len(rows), BLOCK_ROWS):
        # Opened anew: pages of a mapping that is closed don't count as this process's memory.
        features: Rows = np.load(path, mmap_mode="r", allow_pickle=False)
        yield features[rows[start : start + BLOCK_ROWS]]
