import numpy as np
import pytest
import torch

from activessf.data.augmentations import RandomView
from activessf.data.colour_changes import ColourJitter, grey, solarized
from activessf.data.datasets import IMAGENET_MEAN, IMAGENET_STD, ImageFiles
from activessf.data.images import write_png
from activessf.data.two_views import TwoViews
from activessf.errors import InputError

WHOLE = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "horizontal_flip": 0.0}


def two_views(crop=None, jitter=0.0, **changes):
    """Views without any change, unless asked for."""
    still = {"grey": 0.0, "blur": (0, 0), "blur_sigma": (0.1, 2.0), "solarize": (0, 0), "solarize_threshold": 128}
    return TwoViews(
        crop=RandomView(16, **(crop or WHOLE)), jitter=ColourJitter(jitter, 0.4, 0.4, 0.2, 0.1), **{**still, **changes}
    )


def image():
    return np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def test_two_views_are_two_squares():
    views = two_views({"scale": (0.08, 1.0), "interpolation": "bilinear"}, 0.8, blur=(1.0, 0.1), solarize=(0.0, 0.2))
    for height, width in ((16, 16), (9, 40), (80, 50)):
        made = views(np.zeros((height, width, 3), np.uint8), np.random.default_rng(0))
        assert made.shape == (2, 16, 16, 3) and made.dtype == np.uint8 and views.size == 16


def test_nothing_changes_where_nothing_is_asked_for():
    made = two_views()(image(), np.random.default_rng(0))
    assert np.array_equal(made[0], image()) and np.array_equal(made[1], image())


def test_views_depend_on_their_generator_alone_and_differ():
    views = two_views({"scale": (0.08, 1.0)}, 0.8, grey=0.2, blur=(1.0, 0.1), solarize=(0.0, 0.2))
    first, again, other = (views(image(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])


def test_each_view_is_blurred_and_solarized_by_its_own_probability():
    made = two_views(blur=(1.0, 0.0), solarize=(0.0, 1.0))(image(), np.random.default_rng(0))
    assert made[0].std() < 0.9 * image().std()
    assert np.array_equal(made[1], solarized(image(), 128))
    views, rng, changed = two_views(blur=(0.0, 0.0), solarize=(0.0, 0.2)), np.random.default_rng(0), []
    for _ in range(500):
        changed.append([not np.array_equal(view, image()) for view in views(image(), rng)])
    assert np.mean(changed, axis=0) == pytest.approx([0.0, 0.2], abs=0.06)


def test_a_blur_has_a_width_within_its_bounds():
    dot = np.zeros((16, 16, 3), np.uint8)
    dot[8, 8] = 255
    peaks = []
    for seed in range(50):
        made = two_views(blur=(1.0, 1.0), blur_sigma=(0.5, 2.0))(dot, np.random.default_rng(seed))
        peaks += [made[0].max(), made[1].max()]
    # The peak of a Gaussian of deviation s is 1 / (2 pi s^2).
    assert 255 / (2 * np.pi * 2.0**2) - 1 <= min(peaks) < 20 and 100 < max(peaks) <= 255 * 0.62 + 1


def test_a_view_without_colours_is_grey():
    made = two_views(grey=1.0)(image(), np.random.default_rng(0))
    assert np.array_equal(made[0], (255 * grey(image().astype(np.float32) / 255)).round().astype(np.uint8))


def test_mirrors_and_turns_are_those_of_the_crop():
    views = two_views({**WHOLE, "horizontal_flip": 0.5, "vertical_flip": 0.5, "quarter_turns": True})
    ways = [np.rot90(side, turns) for side in (image(), image()[:, ::-1]) for turns in range(4)]
    rng, seen = np.random.default_rng(0), set()
    for _ in range(100):
        for view in views(image(), rng):
            (way,) = [number for number, expected in enumerate(ways) if np.array_equal(view, expected)]
            seen.add(way)
    assert seen == set(range(8))


def test_a_data_set_gives_both_views_normalised(tmp_path):
    write_png(np.full((8, 8, 3), (255, 0, 51), np.uint8), tmp_path / "red.png")
    views, target = ImageFiles([tmp_path / "red.png"], None, two_views(), 0)[0, 0]
    expected = (np.array([1.0, 0.0, 0.2]) - IMAGENET_MEAN) / IMAGENET_STD
    assert views.shape == (2, 3, 16, 16) and views.dtype == torch.float32 and target == 0
    assert views[1, :, 3, 4].numpy() == pytest.approx(expected, abs=1e-5)


def test_a_small_crop_is_enlarged_as_asked():
    edge = np.zeros((4, 4, 3), np.uint8)
    edge[:, 2:] = 200
    rng = np.random.default_rng(0)
    bicubic, bilinear = (RandomView(16, **WHOLE, interpolation=name)(edge, rng) for name in ("bicubic", "bilinear"))
    assert bilinear.max() == 200 and bicubic.max() > 200  # bicubic overshoots at an edge
    with pytest.raises(InputError, match="view.interpolation=nearest must be bicubic or bilinear"):
        RandomView(16, **WHOLE, interpolation="nearest")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grey": 1.1}, "view.grey=1.1"),
        ({"blur": (0.5,)}, r"view.blur=\[0.5\] must be two probabilities"),
        ({"solarize": (0.0, -0.2)}, "view.solarize=-0.2"),
        ({"blur_sigma": (0.0, 2.0)}, r"view.blur_sigma=\[0.0, 2.0\]"),
        ({"blur_sigma": (2.0, 0.1)}, r"view.blur_sigma=\[2.0, 0.1\]"),
    ],
)
def test_numbers_out_of_range_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        two_views(**change)
