"""How fast stage 1 is, and how close its colours come to K-means over all pixels, on the BCCD fields.

    python experiments/benchmarks/regions.py --root ../shared/data/bccd/JPEGImages --fields 100

All in one process on one core, the decoding of the file included. Compared with it are `cv2.imread` alone, and the
same steps as one would write them first: scikit-learn's K-means on all pixels, agglomeration, the conversion of the
whole quantised image to HSV and labeled components. Each of the three has a process of its own, so that none works in
memory that another has left in pieces, and the ratios are of the medians. The objective (Eq. 3, a pixel) is that of the
first stage of K-means in the smoothed image.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from activessf.data.images import read_image
from activessf.regions.colours import quantise
from activessf.regions.filtering import RegionFilter

CONF = Path(__file__).resolve().parents[2] / "conf"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder of JPEG fields")
    parser.add_argument("--fields", type=int, default=100, help="how many, spread evenly (default 100)")
    parser.add_argument("--regions", default="paper", help="preset in conf/regions (default paper)")
    options = parser.parse_args()
    with initialize_config_dir(str(CONF), version_base=None):
        region_filter = instantiate(compose(f"regions/{options.regions}").regions)
    found = sorted(options.root.glob("*.jpg"))
    paths = [found[index] for index in np.linspace(0, len(found) - 1, options.fields).round().astype(int)]
    report(region_filter, paths)


def report(region_filter: RegionFilter, paths: list[Path]) -> None:
    """Time the three on every field and compare the objectives."""
    seconds = {}
    for way in ("imread", "ours", "pixels"):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            seconds[way] = pool.submit(seconds_of, way, region_filter, paths).result()
    limit_threads()
    ratios = [objective_ratio(region_filter, path) for path in tqdm(paths, "objective")]
    imread, ours, pixels = (float(np.median(seconds[name])) * 1000 for name in ("imread", "ours", "pixels"))
    print("| | median ms a field | ours is |")
    print("|---|---|---|")
    print(f"| cv2.imread alone | {imread:.2f} | {ours / imread:.1f} times as long |")
    print(f"| K-means over all pixels (scikit-learn) | {pixels:.0f} | {pixels / ours:.0f} times faster |")
    print(f"| ours, from the file to the boxes | {ours:.2f} | |")
    print(
        f"\nObjective against scikit-learn's, {len(paths)} fields: mean {np.mean(ratios):.4f}, "
        f"median {np.median(ratios):.4f}, {np.min(ratios):.4f} to {np.max(ratios):.4f}"
    )


def seconds_of(way: str, region_filter: RegionFilter, paths: list[Path]) -> list[float]:
    """Seconds that each field takes, of the fast ways several times, since they vary more."""
    limit_threads()
    ways: dict[str, Callable[[Path], object]] = {
        "imread": lambda path: cv2.imread(str(path)),
        "ours": lambda path: region_filter(read_image(path)),
        "pixels": lambda path: by_pixels(region_filter, path),
    }
    ways[way](paths[0])  # loads tables and claims memory
    seconds = []
    for path in tqdm(paths * (1 if way == "pixels" else 3), way):
        started = time.perf_counter()
        ways[way](path)
        seconds.append(time.perf_counter() - started)
    return seconds


def limit_threads() -> None:
    """One core."""
    cv2.setNumThreads(1)
    threadpool_limits(1)


def smoothed(region_filter: RegionFilter, path: Path) -> NDArray[np.uint8]:
    """The smoothed image G, RGB, (H, W, 3)."""
    return region_filter.steps(read_image(path)).smoothed


def objective_ratio(region_filter: RegionFilter, path: Path) -> float:
    """Our objective over scikit-learn's, in the same smoothed image."""
    from sklearn.cluster import KMeans  # here, so that it is not loaded where others are timed

    image = smoothed(region_filter, path)
    pixels = image.reshape(-1, 3).astype(np.float64)
    palette, planes = quantise(image, region_filter.num_colours, region_filter.merged_colours, region_filter.seed)
    labels = palette.clusters(planes).ravel()
    ours = sum(((pixels[labels == k] - pixels[labels == k].mean(axis=0)) ** 2).sum() for k in np.unique(labels))
    kmeans = KMeans(region_filter.num_colours, n_init=1, random_state=region_filter.seed)
    return float(ours / kmeans.fit(pixels).inertia_)


def by_pixels(region_filter: RegionFilter, path: Path) -> list[tuple[int, ...]]:
    """The paper's steps, each on all pixels: the baseline."""
    from sklearn.cluster import AgglomerativeClustering, KMeans

    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB).astype(np.float64)
    low, high = image.min(axis=(0, 1)), image.max(axis=(0, 1))
    image = (image - low) / (high - low) * 255
    image = cv2.GaussianBlur(image, (region_filter.blur_kernel,) * 2, region_filter.blur_sigma)
    kmeans = KMeans(region_filter.num_colours, n_init=1, random_state=region_filter.seed).fit(image.reshape(-1, 3))
    groups = AgglomerativeClustering(region_filter.merged_colours).fit_predict(kmeans.cluster_centers_)
    merged = groups[kmeans.labels_]
    colours = [image.reshape(-1, 3)[merged == group].mean(axis=0) for group in range(region_filter.merged_colours)]
    reduced = np.array(colours)[merged].reshape(image.shape).round().astype(np.uint8)
    hsv = cv2.cvtColor(reduced, cv2.COLOR_RGB2HSV)
    mask = np.zeros(hsv.shape[:2], np.uint8)
    for stain in region_filter.stain_ranges:
        low, high = (np.array([stain[key][end] for key in ("hue", "saturation", "value")]) for end in (0, 1))
        mask |= cv2.inRange(hsv, low, high)
    boxes = cv2.connectedComponentsWithStats(mask, connectivity=8)[2][1:]
    return [
        (x, y, width, height)
        for x, y, width, height, area in boxes.tolist()
        if min(width, height) >= region_filter.min_size and area / (width * height) >= region_filter.min_fill_rate
    ]


if __name__ == "__main__":
    main()
