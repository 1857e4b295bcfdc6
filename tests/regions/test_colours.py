import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import KMeans

from activessf.regions.colours import ColourHistogram, Palette, merge, quantise


def smear(seed: int, size: int = 80) -> np.ndarray:
    """Smooth patches of colour with noise, full contrast."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(20, 236, (12, 3))
    patches = centres[rng.integers(0, 12, (size // 8, size // 8))].repeat(8, 0).repeat(8, 1)
    return np.clip(patches + rng.normal(0, 12, (size, size, 3)), 0, 255).astype(np.uint8)


def quantised(image: np.ndarray, num_colours: int = 20, merged: int = 10, seed: int = 0) -> tuple[np.ndarray, Palette]:
    """The image in its merged colours, and the palette."""
    palette, bins = quantise(image, num_colours, merged, seed)
    return palette.colours[palette.labels(bins)], palette


def objective(image: np.ndarray, labels: np.ndarray) -> float:
    """Eq. 3 with the centres of Eq. 2, cluster by cluster."""
    pixels, labels = image.reshape(-1, 3).astype(float), labels.ravel()
    return sum(((pixels[labels == k] - pixels[labels == k].mean(axis=0)) ** 2).sum() for k in np.unique(labels))


def test_objective_is_near_that_of_kmeans_over_all_pixels() -> None:
    ours, theirs = [], []
    for seed in range(4):
        image = smear(seed)
        palette, bins = quantise(image, 20, 10, 0)
        ours.append(objective(image, palette.clusters(bins)))
        theirs.append(KMeans(20, n_init=1, random_state=0).fit(image.reshape(-1, 3).astype(float)).inertia_)
    assert np.mean(np.divide(ours, theirs)) < 1.01


def test_colours_are_the_means_of_their_pixels() -> None:
    image = smear(5)
    palette, bins = quantise(image, 20, 10, 0)
    labels, clusters = palette.labels(bins), palette.clusters(bins)
    assert palette.colours.shape == (10, 3) and len(palette.centres) == 20 and labels.shape == image.shape[:2]
    for index, colour in enumerate(palette.colours):
        # A level's colour is the mean of the whole level, so a bin's may be off by a fraction of its width.
        assert np.abs(image[labels == index].mean(axis=0) - colour).max() <= 1.5
        assert palette.sizes[index] == np.count_nonzero(labels == index)
    for index, centre in enumerate(palette.centres):
        assert np.abs(image[clusters == index].mean(axis=0) - centre).max() <= 1.5
    np.testing.assert_array_equal(palette.groups[clusters], labels)
    chosen = np.arange(10) % 3 == 0
    np.testing.assert_array_equal(palette.mask(bins, chosen), chosen[labels])


def test_pixels_get_the_nearest_centre_but_at_the_borders() -> None:
    image = smear(6)
    palette, bins = quantise(image, 20, 20, 0)
    squared = ((image[..., None, :].astype(float) - palette.centres) ** 2).sum(axis=-1)
    own = np.take_along_axis(squared, palette.clusters(bins)[..., None].astype(int), axis=-1)[..., 0]
    assert (np.sqrt(own) - np.sqrt(squared.min(axis=-1))).max() < 8
    assert np.mean(own > squared.min(axis=-1) + 1e-6) < 0.1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), cut=st.integers(1, 39), colours=st.integers(1, 30))
def test_an_image_seen_in_pieces_has_the_palette_of_the_whole(seed: int, cut: int, colours: int) -> None:
    image = smear(seed, 40)
    histogram = ColourHistogram()
    for piece in (image[cut:], image[:cut, cut:], image[:cut, :cut]):
        histogram.add(piece)
    pieces, (whole, _) = (
        histogram.palette(colours, min(10, colours), seed),
        quantise(image, colours, min(10, colours), seed),
    )
    for ours, theirs in zip(vars(pieces).values(), vars(whole).values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_image_of_few_colours_keeps_them_exactly() -> None:
    colours = np.array([[10, 20, 30], [200, 0, 90], [255, 255, 255]], dtype=np.uint8)
    image = colours[np.random.default_rng(0).integers(0, 3, (9, 11))]
    np.testing.assert_array_equal(quantised(image)[0], image)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (30, 40)])
def test_a_flat_image_of_any_size_stays(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), (120, 3, 250), dtype=np.uint8)
    result, palette = quantised(image)
    assert len(palette.colours) == 1
    np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize(("num_colours", "merged"), [(1, 1), (2, 1), (200, 150), (256, 256)])
def test_any_number_of_colours_can_be_asked_for(num_colours: int, merged: int) -> None:
    result, palette = quantised(smear(1), num_colours, merged)
    assert len(palette.centres) == num_colours and len(np.unique(result.reshape(-1, 3), axis=0)) <= merged


def test_same_seed_gives_the_same_result() -> None:
    np.testing.assert_array_equal(quantised(smear(3), seed=7)[0], quantised(smear(3), seed=7)[0])


def test_merge_by_hand_takes_the_size_weighted_mean() -> None:
    # Costs: a-b 100*1/101*9 = 8.9; b-c 1/2*16 = 8; a-c 100/101*49. b and c go first although a and b are nearer;
    # then 0 and 5 (size 2) have 100*2/102*25 = 49 against 5 and 12 (size 1): 2/3*49 = 32.7.
    centres = np.array([[0.0, 0, 0], [3, 0, 0], [7, 0, 0], [12, 0, 0]])
    sizes = np.array([100.0, 1, 1, 1])
    assert merge(centres, sizes, 3).tolist() == [0, 1, 1, 2]
    assert merge(centres, sizes, 2).tolist() == [0, 1, 1, 1]
    assert merge(centres, sizes, 9).tolist() == [0, 1, 2, 3]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), num=st.integers(2, 12), count=st.integers(1, 12))
def test_merge_equals_scipys_ward_on_repeated_points(seed: int, num: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    centres, sizes = rng.uniform(0, 255, (num, 3)), rng.integers(1, 6, num)
    repeated = np.repeat(np.arange(num), sizes)
    tree = fcluster(linkage(centres[repeated], "ward"), min(count, num), "maxclust")
    expected = [int(tree[repeated == k][0]) for k in range(num)]
    ours = merge(centres, sizes.astype(float), count)
    assert sorted(set(ours.tolist())) == list(range(min(count, num)))
    # The same partition, whatever the numbers of its parts.
    assert len(set(zip(ours.tolist(), expected, strict=True))) == len(set(expected)) == min(count, num)
