import pickle
import random

import numpy as np
import pytest
from PIL import Image
from timm.data.auto_augment import rand_augment_transform

from activessf.data.augmentations import RandomView
from activessf.data.augmented_view import AugmentedView
from activessf.errors import InputError

POLICY = "rand-m9-mstd0.5-inc1"
IMAGE = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_without_augmentation_it_is_the_random_view():
    view, plain = AugmentedView(32, [0.3, 1.0], 0.5), RandomView(32, [0.3, 1.0], horizontal_flip=0.5)
    for seed in range(5):
        assert (view(IMAGE, rng(seed)) == plain(IMAGE, rng(seed))).all()


def test_it_depends_on_its_own_generator_alone_and_leaves_the_others_as_they_were():
    view = pickle.loads(pickle.dumps(AugmentedView(32, [0.3, 1.0], 0.5, POLICY, 0.25)))  # as loader processes get it
    random.seed(1)
    np.random.seed(1)
    expected = random.Random(1).random(), np.random.RandomState(1).rand()
    first = [view(IMAGE, rng(seed)) for seed in range(20)]
    assert (random.random(), np.random.rand()) == expected
    again = [view(IMAGE, rng(seed)) for seed in range(20)]
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert all(made.shape == (32, 32, 3) and made.dtype == np.uint8 for made in first)
    assert len({made.tobytes() for made in first}) == 20


def test_the_augmentation_is_that_of_timm_with_the_settings_of_its_training_transforms():
    view, plain = AugmentedView(32, [1.0, 1.0], 0.0, POLICY), RandomView(32, [1.0, 1.0], horizontal_flip=0.0)
    settings = {"translate_const": 14, "img_mean": (124, 116, 104), "interpolation": Image.BICUBIC}
    augment, changed = rand_augment_transform(POLICY, settings), 0
    for seed in range(12):
        generator = rng(seed)
        crop = plain(IMAGE, generator)
        drawn = int(generator.integers(2**32))
        random.seed(drawn)
        np.random.seed(drawn)
        expected = np.asarray(augment(Image.fromarray(crop)))
        assert (view(IMAGE, rng(seed)) == expected).all()
        changed += bool((expected != crop).any())
    assert changed >= 5


def test_a_rectangle_of_noise_of_the_published_size_is_put_in():
    grey = np.full((100, 100, 3), 128, np.uint8)
    view = AugmentedView(100, [1.0, 1.0], 0.0, None, erasing=1.0)
    shares, values = [], []
    for seed in range(100):
        noise = (view(grey, rng(seed)) != 128).any(axis=2)
        rows, columns = np.nonzero(noise.any(axis=1))[0], np.nonzero(noise.any(axis=0))[0]
        height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        shares.append(height * width / 1e4)
        assert noise.sum() > 0.95 * height * width and 0.25 < height / width < 4
        values.append(view(grey, rng(seed))[noise])
    assert (
        0.015 < min(shares) and max(shares) < 0.345 and np.mean(shares) == pytest.approx((0.02 + 1 / 3) / 2, abs=0.03)
    )
    pixels = np.concatenate(values) / 255
    # ImageNet's mean; its deviation is a little less, since pixels end at 0 and 255
    assert pixels.mean(axis=0) == pytest.approx([0.485, 0.456, 0.406], abs=0.02)
    assert pixels.std(axis=0) == pytest.approx([0.22, 0.21, 0.21], abs=0.02)


def test_erasing_is_as_probable_as_said():
    grey = np.full((40, 40, 3), 128, np.uint8)
    view = AugmentedView(40, [1.0, 1.0], 0.0, None, erasing=0.25)
    erased = sum(bool((view(grey, rng(seed)) != 128).any()) for seed in range(400))
    assert 65 < erased < 135  # four deviations


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"rand_augment": "auto"}, "view.rand_augment=auto is no policy of RandAugment"),
        ({"rand_augment": "rand-x9"}, "view.rand_augment=rand-x9 is no policy"),
        ({"rand_augment": 9}, "view.rand_augment=9 is no policy"),
        ({"erasing": 1.5}, "view.erasing=1.5 must be a probability"),
        ({"scale": [0.0, 1.0]}, "view.scale"),
    ],
)
def test_values_that_can_not_be_are_refused(settings, match):
    with pytest.raises(InputError, match=match):
        AugmentedView(**{"size": 32, "scale": [0.5, 1.0], **settings})
