"""The same cell twice among labeled ones: copied, saved anew, scaled, brightened, mirrored or turned.

A perceptual hash proposes pairs. Round cells on an even ground hash alike, so a pair counts only if the fine structure
of both pictures is the same too: different cells may share an outline, but not their texture and noise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.fft import dctn
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from activessf.data.images import read_image
from activessf.manifests import BOX

FloatArray = NDArray[np.float32]

VERSION = 1  # raised when other cells count as duplicates
DUPLICATES = ("crop", "set", "like", "bits", "correlation")
SPANNING = ("set", "fold", "image", *BOX, "group", "label", "crop")

_SIZE = 32  # pixels of the picture that is hashed and compared
_FREQUENCIES = 8  # a side; without the mean that makes 63 bits
_DETAIL_SIGMA = 2.0  # of the blur that is taken away, pixels of that picture
# Measured on BCCD, Chula RBC-12 and made-up slides: experiments/results/duplicates.md.
MOST_BITS = 8
LEAST_CORRELATION = 0.8
_ROWS, _PAIRS = 2048, 8192  # worked on at a time
_LEAST_CONTRAST = 0.5  # grey levels; less is taken for no structure
_FLAT = 1e-3  # norm of a picture without any

# Transposed, then mirrored upside down, then left to right: the eight ways to lay down a square.
_ORIENTATIONS = tuple((a, b, c) for a in (False, True) for b in (False, True) for c in (False, True))


@dataclass(frozen=True)
class Pictures:
    """What is kept of n crops to compare them.

    Attributes:
        contents: Hash of the pixels.
        frequencies: Lowest coefficients of the cosine transform, (n, 8, 8).
        details: Fine structure, mean 0 and norm 1, or all 0 where there is none, (n, 32, 32).
    """

    contents: tuple[bytes, ...]
    frequencies: FloatArray
    details: FloatArray


def find_duplicates(folder: Path, crops: Sequence[str], num_workers: int) -> pd.DataFrame:
    """Sets of crops that show the same thing, exactly or nearly.

    Pairs whose hashes differ in at most 8 of 63 bits, in any of eight orientations, and whose fine structure
    correlates by at least 0.8 belong to one set, and so do pairs with equal pixels. All pairs are compared, by
    matrix products: a minute for 50,000 crops, after they are read.

    Args:
        folder: Paths are relative to it.
        crops: Image files.
        num_workers: Threads that read them; the result does not depend on it.

    Returns:
        One row a crop that belongs to a set, columns `DUPLICATES`: `like` is the crop that it resembles most, `bits`
        the distance of their hashes and `correlation` that of their fine structure; 0 and 1 where the pixels are equal.
    """
    pictures = read_pictures(folder, crops, num_workers)
    pairs = similar_pairs(pictures, MOST_BITS, LEAST_CORRELATION)
    return _sets(crops, *(np.concatenate(part) for part in zip(*pairs, strict=True)))


def spanning_folds(duplicates: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """The cells of those sets that lie in more than one fold.

    Args:
        duplicates: See `find_duplicates`.
        cells: The labeled cells with their folds, columns `manifests.FOLDS`.

    Returns:
        Columns `SPANNING`, set by set.
    """
    placed = duplicates[["crop", "set"]].merge(cells, on="crop")
    spans = placed.groupby("set")["fold"].transform("nunique") > 1
    return placed.loc[spans, list(SPANNING)].sort_values(["set", "fold", "crop"]).reset_index(drop=True)


def spanning_sentence(spanning: pd.DataFrame) -> str:
    """What is wrong with the folds, in a sentence; empty where nothing is."""
    if spanning.empty:
        return ""
    first = spanning[spanning["set"] == spanning["set"].iloc[0]].drop_duplicates("fold")
    shown = " and ".join(f"{row.image!r} (fold {row.fold})" for row in first.head(2).itertuples())
    return (
        f"{len(spanning)} labeled cells show the same as a cell of another fold, exactly or nearly ({shown} for one; "
        f"{spanning['set'].nunique()} such sets). They are tested on what was learnt: remove the copies or keep them "
        "in one fold (data.join_duplicates=true does where folds are made, the column split where they are given), or "
        "the report will refuse a table of these folds."
    )


def read_pictures(folder: Path, crops: Sequence[str], num_workers: int) -> Pictures:
    """What is compared of each crop; see `find_duplicates`."""
    with ThreadPoolExecutor(max(1, num_workers)) as pool:
        seen = pool.map(lambda crop: _picture(read_image(folder / crop)), crops)
        parts = list(tqdm(seen, total=len(crops), desc="Hashing labeled cells", unit="cell"))
    contents, frequencies, details = zip(*parts, strict=True)
    return Pictures(contents, np.stack(frequencies), np.stack(details))


def _picture(image: NDArray[np.uint8]) -> tuple[bytes, FloatArray, FloatArray]:
    content = hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).digest()
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    way = cv2.INTER_AREA if min(grey.shape) >= _SIZE else cv2.INTER_LINEAR
    small = cv2.resize(grey, (_SIZE, _SIZE), interpolation=way)
    frequencies = dctn(small, norm="ortho")[:_FREQUENCIES, :_FREQUENCIES].astype(np.float32)
    detail = small - cv2.GaussianBlur(small, (0, 0), _DETAIL_SIGMA)
    # By the contrast around it, or the edge of the cell, which round cells share, would outweigh all that is in it.
    detail = detail / (np.sqrt(cv2.GaussianBlur(detail**2, (0, 0), _DETAIL_SIGMA)) + _LEAST_CONTRAST)
    detail = detail - detail.mean()
    norm = float(np.linalg.norm(detail))
    detail = detail / norm if norm > _FLAT else np.zeros_like(detail)
    return content, frequencies, np.asarray(detail, np.float32)


def similar_pairs(
    pictures: Pictures, most_bits: int, least_correlation: float
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], FloatArray]]:
    """All pairs within two bounds, part by part.

    Args:
        pictures: The crops.
        most_bits: Bits in which the hashes of a pair differ, at most.
        least_correlation: Correlation of their fine structure, at least.

    Yields:
        Rows of the first and of the second of each pair, bits between them, correlation. A pair may come once for each
        orientation in which it fits; of crops with equal pixels, the first stands for all in other pairs.
    """
    groups = pd.Series(range(len(pictures.contents))).groupby(pd.Series(pictures.contents))
    leader = groups.transform("min").to_numpy(np.intp)
    copies = np.flatnonzero(leader != np.arange(len(leader)))
    yield leader[copies], copies, np.zeros(len(copies), np.intp), np.ones(len(copies), np.float32)
    # Of equal crops one is enough: what resembles it, resembles them all.
    rows = np.flatnonzero(leader == np.arange(len(leader)))
    signs, details = _signs(pictures.frequencies[rows]), pictures.details[rows]
    for orientation in tqdm(_ORIENTATIONS, desc="Comparing labeled cells", unit="orientation"):
        turned = _signs(_turned_frequencies(pictures.frequencies[rows], orientation))
        for start in range(0, len(rows), _ROWS):
            agreement = signs[start : start + _ROWS] @ turned[start:].T  # equal bits minus others
            close = np.triu(agreement >= signs.shape[1] - 2 * most_bits - 0.5, 1)
            first, second = np.nonzero(close)
            bits = np.rint((signs.shape[1] - agreement[first, second]) / 2).astype(np.intp)
            first, second = first + start, second + start
            correlation = _correlations(details, first, second, orientation)
            same = correlation >= least_correlation
            yield rows[first[same]], rows[second[same]], bits[same], correlation[same]


def _signs(frequencies: FloatArray) -> FloatArray:
    """The hash: whether each coefficient but the mean is positive, as 1 and -1, (n, 63)."""
    return np.where(frequencies.reshape(len(frequencies), -1)[:, 1:] > 0, np.float32(1), np.float32(-1))


def _turned(pictures: FloatArray, orientation: tuple[bool, bool, bool]) -> FloatArray:
    transposed, upside_down, mirrored = orientation
    result = pictures.swapaxes(1, 2) if transposed else pictures
    return result[:, :: -1 if upside_down else 1, :: -1 if mirrored else 1]


def _turned_frequencies(frequencies: FloatArray, orientation: tuple[bool, bool, bool]) -> FloatArray:
    """Those of the turned pictures: mirroring changes the sign of the odd cosines, along that axis."""
    transposed, upside_down, mirrored = orientation
    alternating = (-1.0) ** np.arange(_FREQUENCIES, dtype=np.float32)
    result = frequencies.swapaxes(1, 2) if transposed else frequencies
    result = result * alternating[:, None] if upside_down else result
    return result * alternating if mirrored else result


def _correlations(
    details: FloatArray, first: NDArray[np.intp], second: NDArray[np.intp], orientation: tuple[bool, bool, bool]
) -> FloatArray:
    parts = [
        np.einsum("nij,nij->n", details[first[some]], _turned(details[second[some]], orientation))
        for some in (slice(start, start + _PAIRS) for start in range(0, len(first), _PAIRS))
    ]
    return np.concatenate([*parts, np.zeros(0, np.float32)])


def _sets(
    crops: Sequence[str],
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    bits: NDArray[np.intp],
    correlation: FloatArray,
) -> pd.DataFrame:
    """Connected pairs, a row a crop with its best partner, columns `DUPLICATES`."""
    pairs = pd.DataFrame(
        {
            "row": np.concatenate([first, second]),
            "other": np.concatenate([second, first]),
            "bits": np.tile(bits, 2),
            "correlation": np.tile(correlation, 2),
        }
    )
    ranked = pairs.sort_values(["row", "correlation", "bits", "other"], ascending=[True, False, True, True])
    best = ranked.drop_duplicates("row")
    graph = coo_matrix((np.ones(len(first)), (first, second)), shape=(len(crops), len(crops)))
    _, component = connected_components(graph, directed=False)
    names = np.array([*crops, ""], dtype=object)  # one at least, so that the columns are text
    return pd.DataFrame(
        {
            "crop": names[best["row"].to_numpy()],
            "set": pd.factorize(component[best["row"]])[0],
            "like": names[best["other"].to_numpy()],
            "bits": best["bits"].to_numpy(),
            "correlation": best["correlation"].to_numpy(),
        }
    )
