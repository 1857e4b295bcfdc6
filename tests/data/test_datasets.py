from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import chisquare, ks_2samp
from torchvision.transforms import RandomResizedCrop

from activessf.data.augmentations import RandomView, WholeView, resize
from activessf.data.datasets import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    EpochSampler,
    ImageFiles,
    batch_items,
    batch_share,
    evaluation_loader,
    training_loader,
)
from activessf.data.images import read_image, write_png


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(0)
    files = []
    for number in range(6):
        files.append(tmp_path / f"{number}.png")
        write_png(rng.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8), files[-1])
    return files


def batches(paths, num_workers):
    images = ImageFiles(paths, list(range(6)), RandomView(16, (0.3, 1.0), brightness=0.2), seed=3)
    loader = training_loader(images, 2, num_workers)
    loader.sampler.epoch = 4
    return list(loader)


def test_batches_are_the_same_for_every_number_of_workers(paths):
    for (images, targets), (others, their_targets) in zip(batches(paths, 0), batches(paths, 2), strict=True):
        assert torch.equal(images, others) and torch.equal(targets, their_targets)


def test_a_view_depends_on_seed_epoch_and_index_alone(paths):
    images = ImageFiles(paths, None, RandomView(16, (0.3, 1.0)), seed=3)
    again = ImageFiles(paths, None, RandomView(16, (0.3, 1.0)), seed=3, cache_bytes=10**6)
    later = images[0, 1][0]
    assert torch.equal(again[0, 1][0], later) and torch.equal(again[0, 1][0], later)  # read and cached
    assert not torch.equal(images[1, 1][0], later)
    assert not torch.equal(ImageFiles(paths, None, RandomView(16, (0.3, 1.0)), seed=4)[0, 1][0], later)


def test_tensors_are_normalised_rgb(tmp_path):
    write_png(np.full((8, 8, 3), (255, 0, 51), np.uint8), tmp_path / "red.png")
    tensor, _ = ImageFiles([tmp_path / "red.png"], None, WholeView(4), 0)[0, 0]
    expected = (np.array([1.0, 0.0, 0.2]) - IMAGENET_MEAN) / IMAGENET_STD
    assert tensor.shape == (3, 4, 4) and tensor.dtype == torch.float32
    assert tensor[:, 2, 1].numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("views", [1, 2])
def test_every_pixel_of_a_view_is_normalised_by_the_numbers_of_its_channel(paths, views):
    def view(image, rng):
        made = np.stack([image[:20, :16], 255 - image[:20, 3:19]])
        return made if views == 2 else made[0]

    tensor = ImageFiles(paths, None, view, 0)[0, 1][0].numpy()
    assert tensor.shape == ((2, 3, 20, 16) if views == 2 else (3, 20, 16))
    for number, pixels in enumerate(view(read_image(paths[1]), None).reshape(-1, 20, 16, 3)):
        for channel in range(3):
            expected = (pixels[..., channel] / 255 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
            assert tensor.reshape(-1, 3, 20, 16)[number, channel] == pytest.approx(expected, abs=1e-5)


@given(st.integers(1, 40), st.integers(0, 100), st.integers(0, 5))
def test_an_epoch_holds_every_image_once(num_images, seed, epoch):
    sampler = EpochSampler(num_images, seed)
    sampler.epoch = epoch
    items = list(sampler)
    assert sorted(index for _, index in items) == list(range(num_images)) and {e for e, _ in items} == {epoch}
    assert {e for e, _ in sampler} == {epoch + 1}
    sampler.epoch = epoch
    assert items == list(sampler)


def test_a_set_smaller_than_a_batch_is_repeated_to_fill_one(paths):
    images = ImageFiles(paths, list(range(6)), WholeView(8), 0)
    (only,) = list(training_loader(images, 16, 0))
    counts = np.bincount(only[1].numpy(), minlength=6)
    assert counts.sum() == 16 and counts.min() >= 2 and counts.max() <= 3


@settings(max_examples=50)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 1000))
def test_every_crop_lies_in_its_image_and_has_the_asked_size(height, width, seed):
    view = RandomView(12, (0.08, 1.0), vertical_flip=0.5, quarter_turns=True, brightness=0.4, contrast=0.4)
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    x, y, w, h = view._box(height, width, np.random.default_rng(seed))
    assert 0 <= x and 0 <= y and 0 < w and 0 < h and x + w <= width and y + h <= height
    result = view(image, np.random.default_rng(seed))
    assert result.shape == (12, 12, 3) and result.dtype == np.uint8 and result.flags.c_contiguous


def test_crops_cover_the_asked_share_of_the_area():
    view = RandomView(8, (0.2, 0.5))
    rng = np.random.default_rng(0)
    shares = [w * h / (200 * 300) for _, _, w, h in (view._box(200, 300, rng) for _ in range(500))]
    assert 0.19 <= min(shares) and max(shares) <= 0.51


@pytest.mark.parametrize(
    ("height", "width", "size"), [(40, 60, 24), (17, 9, 32), (36, 37, 224), (1, 1, 8), (224, 224, 224), (90, 300, 48)]
)
def test_resizing_is_that_of_pillow(height, width, size):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(resize(image, size) - expected).max() <= 1


# Of 30 x 150 nearly all draws fail and their crop is the one in the middle, of 120 x 40 a part of them.
@pytest.mark.parametrize(("height", "width"), [(300, 400), (30, 150), (150, 30), (120, 40), (40, 120)])
def test_crops_are_distributed_as_those_of_torchvision(height, width):
    torch.manual_seed(0)
    number = 2000
    view, rng, blank = RandomView(8, (0.2, 1.0)), np.random.default_rng(0), torch.zeros(3, height, width)
    ours = np.array([view._box(height, width, rng) for _ in range(number)])
    theirs = [RandomResizedCrop.get_params(blank, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(number)]
    top, left, h, w = np.array(theirs).T
    for own, other in zip(ours.T, (left, top, w, h), strict=True):
        assert ks_2samp(own, other).pvalue > 0.001
    aspects = [np.log(w / h) for *_, w, h in ours], np.log(w / h)
    assert ks_2samp(*aspects).pvalue > 0.001


RATIOS = [(3 / 4, 4 / 3), (0.9, 1.1), (1.0, 1.0), (0.5, 3.0)]


@settings(max_examples=50)
@given(st.integers(20, 200), st.integers(20, 200), st.sampled_from(RATIOS))
def test_where_no_draw_fits_the_crop_is_that_of_torchvision(height, width, ratio):
    assume(not ratio[0] / 1.1 < width / height < ratio[1] * 1.1)  # no draw of the whole area fits, rounded or not
    x, y, w, h = RandomView(8, (1.0, 1.0), ratio)._box(height, width, np.random.default_rng(0))
    blank = torch.zeros(3, height, width)
    assert (y, x, h, w) == RandomResizedCrop.get_params(blank, [1.0, 1.0], list(ratio))


def test_a_crop_of_a_line_of_pixels_is_not_empty():
    for height, width, ratio in ((9, 1, (4.0, 5.0)), (1, 9, (0.1, 0.2))):
        assert RandomView(8, (1.0, 1.0), ratio)._box(height, width, np.random.default_rng(0))[2:] == (1, 1)


@pytest.mark.parametrize(("batch_size", "done"), [(1, 0), (2, 0), (4, 0), (9, 0), (2, 4)])
def test_what_was_in_a_batch_is_known_afterwards(paths, batch_size, done):
    images = ImageFiles(paths, list(range(6)), WholeView(8), seed=3)
    loader = training_loader(images, batch_size, 0, done)
    given = {}
    for epoch in (1, 2, 5):
        loader.sampler.epoch = epoch
        first = 1 if done and epoch == 1 else 0  # four batches are one and a third of an epoch
        given |= {(epoch, index): targets.tolist() for index, (_, targets) in enumerate(loader, first)}
        assert loader.sampler.current == epoch
    for (epoch, index), targets in given.items():
        assert batch_items(loader, epoch, index) == [(epoch, target) for target in targets]


def test_a_subset_has_the_images_it_is_told_to_have_and_caches_them_as_its_own(paths):
    images = ImageFiles(paths, list(range(6)), WholeView(8), seed=3, cache_bytes=10**6)
    whole = [images[0, index][0] for index in range(6)]
    part = images.subset([4, 1])
    assert len(part) == 2 and part.targets == [4, 1] and part.paths == [paths[4], paths[1]]
    for _ in range(2):
        assert torch.equal(part[0, 0][0], whole[4]) and torch.equal(part[0, 1][0], whole[1])
    assert torch.equal(images[0, 0][0], whole[0]) and len(images) == 6


def test_normalised_images_become_the_pixels_that_they_were(paths):
    images = ImageFiles(paths, None, RandomView(16, (0.3, 1.0)), seed=3)
    tensors = torch.stack([images[2, index][0] for index in range(6)])
    views = [images.view(read_image(paths[index]), np.random.default_rng([3, 2, index])) for index in range(6)]
    assert (images.pixels(tensors) == np.stack(views)).all()


def test_a_weighted_epoch_is_as_long_as_any_and_depends_on_seed_and_epoch_alone(paths):
    images = ImageFiles(paths, list(range(6)), WholeView(8), seed=3).weighted(np.array([5.0, 1, 1, 1, 1, 0]))
    loader = training_loader(images, 2, 0)
    first, second = (list(loader.sampler) for _ in range(2))
    assert len(first) == len(second) == 6 and first != second and len(list(loader)) == 3
    again = training_loader(images, 2, 0, batches_done=4).sampler
    assert list(again) == second[2:]
    assert batch_items(loader, 0, 1) == first[2:4]
    assert not any(index == 5 for _, index, *_ in first + second)


def test_images_are_drawn_in_proportion_to_their_weights():
    weights = np.array([6.0, 3.0, 1.0, 0.0])
    sampler = EpochSampler(4, seed=1, length=20_000, weights=weights)
    drawn = np.bincount([index for _, index, *_ in sampler], minlength=4)
    assert drawn[3] == 0
    assert chisquare(drawn[:3], 20_000 * weights[:3] / weights.sum()).pvalue > 0.001


@given(st.integers(1, 12), st.integers(1, 40), st.integers(0, 100))
def test_no_item_of_an_epoch_is_drawn_twice(num_images, length, seed):
    weights = np.random.default_rng(seed).random(num_images) + 0.01
    items = list(EpochSampler(num_images, seed, length, weights=weights))
    assert len(items) == length == len(set(items))
    for index in range(num_images):
        times = [rest for _, drawn, *rest in items if drawn == index]
        assert times == [[] if number == 0 else [number] for number in range(len(times))]


def test_an_image_that_is_drawn_again_in_an_epoch_has_another_view(paths):
    images = ImageFiles(paths, list(range(6)), RandomView(16, (0.3, 1.0)), seed=3)
    views = [images[item][0] for item in ((2, 4), (2, 4, 1), (2, 4, 2), (3, 4))]
    assert not any(torch.equal(views[a], views[b]) for a in range(4) for b in range(a))
    assert torch.equal(images[2, 4, 1][0], views[1]) and images[2, 4, 1][1] == 4


def test_weights_belong_to_a_copy_and_follow_a_subset(paths):
    images = ImageFiles(paths, list(range(6)), WholeView(8), seed=3)
    drawn = images.weighted(np.arange(6.0))
    assert images.weights is None and drawn.subset([5, 1]).weights.tolist() == [5, 1]
    assert images.subset([5, 1]).weights is None and drawn.weighted(None).weights is None
    assert torch.equal(drawn[0, 2][0], images[0, 2][0])


@given(st.integers(1, 20), st.integers(1, 4))
@settings(deadline=None)
def test_the_parts_of_an_evaluation_are_of_one_length_and_have_every_image(num_images, num_parts):
    files = ImageFiles([Path(f"{index}.png") for index in range(num_images)], None, WholeView(8), seed=3)
    parts = [list(evaluation_loader(files, 2, 0, part, num_parts).sampler) for part in range(num_parts)]
    by_turns = [item for items in zip(*parts, strict=True) for item in items]
    assert by_turns[:num_images] == [(0, index) for index in range(num_images)]
    assert num_images <= len(by_turns) < num_images + num_parts


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 4), st.integers(0, 9))
@settings(deadline=None)
def test_the_parts_of_a_batch_one_after_the_other_are_the_batch(num_images, own, num_parts, done):
    """Compared with a plain permutation of each epoch, cut into batches and these into parts."""
    files = ImageFiles([Path(f"{index}.png") for index in range(num_images)], None, WholeView(8), seed=3)
    batch = own * num_parts
    batches = max(num_images, batch) // batch
    orders = []
    for epoch in range(done // batches, done // batches + 2):
        rng = np.random.default_rng([3, epoch])
        rounds = 1 if num_images >= batch else -(-batch // num_images)
        whole = np.concatenate([rng.permutation(num_images) for _ in range(rounds)])[: batches * batch]
        orders.append(
            [[(epoch, int(index)) for index in whole[start : start + batch]] for start in range(0, len(whole), batch)]
        )
    orders[0] = orders[0][done % batches :]
    for part in range(num_parts):
        loader = training_loader(files, batch, 0, done, batch_share(batch, part, num_parts))
        assert loader.batch_size == own and len(loader) == batches
        for expected in orders:
            items = list(loader.sampler)
            found = [items[start : start + own] for start in range(0, len(items), own)]
            assert found == [one[part * own : (part + 1) * own] for one in expected]


@given(st.integers(1, 5), st.integers(1, 5))
def test_mirrored_parts_have_every_image_and_its_opposite_where_a_flip_finds_it(pairs, num_parts):
    batch = 2 * pairs * num_parts
    parts = [batch_share(batch, part, num_parts, mirrored=True).places for part in range(num_parts)]
    assert sorted(place for part in parts for place in part) == list(range(batch))
    for part in parts:
        assert list(part) == sorted(part)
        assert [batch - 1 - place for place in part] == list(reversed(part))


def test_the_parts_of_a_weighted_batch_are_the_batch(paths):
    images = ImageFiles(paths, list(range(6)), WholeView(8), seed=3).weighted(np.array([5.0, 1, 1, 1, 1, 0]))
    whole = list(training_loader(images, 4, 0, batches_done=2).sampler)
    parts = [list(training_loader(images, 4, 0, 2, batch_share(4, part, 2)).sampler) for part in range(2)]
    assert whole == [*parts[0], *parts[1]] and len(parts[0]) == 2
