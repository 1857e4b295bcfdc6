import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as F

from activessf.data import colour_changes
from activessf.data.colour_changes import ColourJitter, blurred, grey, solarized
from activessf.errors import InputError

CHANGES = [
    ("brightened", F.adjust_brightness, (0.0, 0.6, 1.0, 1.4)),
    ("contrasted", F.adjust_contrast, (0.0, 0.6, 1.0, 1.4)),
    ("saturated", F.adjust_saturation, (0.0, 0.8, 1.0, 1.2)),
    ("hue_turned", F.adjust_hue, (-0.5, -0.1, 0.0, 0.03, 0.5)),
]


def pictures():
    """Noise, a colour wheel with grey, black and white in it, and a stained cell of sorts."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (24, 30, 3), dtype=np.uint8)
    hue, value = np.meshgrid(np.arange(180), np.linspace(0, 255, 32), indexing="xy")
    wheel = np.stack([hue, np.linspace(255, 0, 32)[:, None].repeat(180, axis=1), value], axis=-1).astype(np.uint8)
    wheel = cv2.cvtColor(wheel, cv2.COLOR_HSV2RGB)
    wheel[:2], wheel[2:4], wheel[4:6] = 0, 255, 128
    cell = np.full((32, 32, 3), (240, 220, 235), np.uint8)
    cell[8:24, 8:24] = (90, 40, 140)
    return [noise, wheel, cell]


def as_floats(image):
    return image.astype(np.float32) / 255


@pytest.mark.parametrize(("name", "theirs", "amounts"), CHANGES)
def test_a_change_is_that_of_torchvision(name, theirs, amounts):
    for image in pictures():
        tensor = torch.from_numpy(as_floats(image)).permute(2, 0, 1)
        for amount in amounts:
            found = getattr(colour_changes, name)(as_floats(image), amount)
            assert found.dtype == np.float32
            expected = theirs(tensor, amount).permute(1, 2, 0).numpy()
            # Their weights of grey have four digits, ours are PIL's; a hue near grey hangs on the last bit.
            assert np.abs(found - expected).max() < 1e-3, amount


@pytest.mark.parametrize(("name", "theirs", "amounts"), CHANGES)
def test_a_change_is_that_of_pil_but_for_its_rounding(name, theirs, amounts):
    for image in pictures():
        for amount in amounts:
            found = 255 * getattr(colour_changes, name)(as_floats(image), amount)
            expected = np.asarray(theirs(Image.fromarray(image), amount), np.float32)
            off = np.abs(found - expected)
            if name == "hue_turned":  # PIL rounds hues to 256 steps, each of up to 6 values, and again as it goes
                assert off.mean() < 2 and off.max() < 15, amount
            else:
                assert off.max() <= 1.5, amount


def test_grey_is_that_of_pil():
    for image in pictures():
        expected = np.asarray(F.to_grayscale(Image.fromarray(image), 3), np.float32)
        assert np.abs(255 * grey(as_floats(image)) - expected).max() <= 0.51


def test_solarized_is_that_of_torchvision():
    for image in pictures():
        for threshold in (0, 128, 255):
            tensor = torch.from_numpy(image).permute(2, 0, 1)
            found = solarized(image, threshold)
            assert found.dtype == np.uint8
            assert np.array_equal(found, F.solarize(tensor, threshold).permute(1, 2, 0).numpy())


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blurred_is_a_gaussian(sigma):
    for image in pictures():
        tensor = torch.from_numpy(as_floats(image)).permute(2, 0, 1)
        expected = F.gaussian_blur(tensor, [19, 19], [sigma, sigma]).permute(1, 2, 0).numpy()
        inner = slice(9, -9)  # the borders are another matter
        assert np.abs(blurred(as_floats(image), sigma) - expected)[inner, inner].max() < 1e-3


def test_the_jitter_depends_on_its_generator_alone_and_leaves_its_input():
    image = as_floats(pictures()[0])
    before, jitter = image.copy(), ColourJitter(1.0, 0.4, 0.4, 0.2, 0.1)
    first, again = (jitter(image, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, again) and np.array_equal(image, before) and not np.array_equal(first, image)
    assert not np.array_equal(first, jitter(image, np.random.default_rng(4)))


def test_the_jitter_changes_all_four_in_a_random_order(monkeypatch):
    calls, rng = [], np.random.default_rng(0)
    names = [name for name, _, _ in CHANGES]
    for name in names:
        monkeypatch.setattr(colour_changes, name, lambda colours, amount, name=name: calls.append(name) or colours)
    for _ in range(300):
        ColourJitter(1.0, 0.4, 0.4, 0.2, 0.1)(as_floats(pictures()[2]), rng)
    orders = {tuple(calls[start : start + 4]) for start in range(0, len(calls), 4)}
    assert len(calls) == 1200 and len(orders) == 24 and all(set(order) == set(names) for order in orders)


def test_the_jitter_draws_from_its_bounds(monkeypatch):
    amounts, rng = {name: [] for name, _, _ in CHANGES}, np.random.default_rng(0)
    for name, found in amounts.items():
        monkeypatch.setattr(
            colour_changes, name, lambda colours, amount, found=found: found.append(amount) or colours
        )  # fmt: skip
    for _ in range(300):
        ColourJitter(1.0, 0.4, 0.3, 0.2, 0.1)(as_floats(pictures()[2]), rng)
    bounds = {"brightened": (0.6, 1.4), "contrasted": (0.7, 1.3), "saturated": (0.8, 1.2), "hue_turned": (-0.1, 0.1)}
    for name, (lowest, highest) in bounds.items():
        width = highest - lowest
        assert lowest <= min(amounts[name]) < lowest + 0.05 * width, name
        assert highest - 0.05 * width < max(amounts[name]) <= highest, name


def test_the_jitter_comes_as_often_as_its_probability():
    image, rng = as_floats(pictures()[2]), np.random.default_rng(0)
    jitter = ColourJitter(0.8, 0.4, 0.4, 0.2, 0.1)
    changed = [not np.array_equal(jitter(image, rng), image) for _ in range(500)]
    assert np.mean(changed) == pytest.approx(0.8, abs=0.06)
    assert np.array_equal(ColourJitter(0.0, 0.4, 0.4, 0.2, 0.1)(image, rng), image)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probability": 1.2}, "view.jitter.probability=1.2"),
        ({"brightness": 2.0}, "view.jitter.brightness=2.0"),
        ({"saturation": -0.1}, "view.jitter.saturation=-0.1"),
        ({"hue": 0.6}, "view.jitter.hue=0.6"),
    ],
)
def test_numbers_out_of_range_are_refused(change, message):
    numbers = {"probability": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1}
    with pytest.raises(InputError, match=message):
        ColourJitter(**{**numbers, **change})
