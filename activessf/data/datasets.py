"""Images on disk as batches of tensors, the same for every number of loader workers."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from activessf.data.plain_images import read_checked_image
from activessf.data.spared import leave_signals_to_the_training

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Loader = DataLoader[Any]  # of batches (images (N, [V,] 3, size, size), targets (N,))
View = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]
Item = tuple[int, ...]  # epoch, index, and how often the image was drawn before in the epoch, if it was


class ImageFiles(Dataset[tuple[Tensor, int]]):
    """Image files, checked by an earlier stage, each as a view made afresh for every epoch.

    An item is asked for by (epoch, index), and its randomness is a function of (seed, epoch, index): so it does not
    matter which worker makes it, or what was made before. An image that is drawn more than once in an epoch has another
    view every time: its further items are (epoch, index, how often it was drawn before).

    Args:
        paths: The image files.
        targets: Class index of each, or None (then 0).
        view: Makes the view, uint8 RGB (H, W, 3) -> uint8 RGB (size, size, 3), or several of them, (V, size, size, 3).
        seed: Seed of the views.
        mean: Per-channel mean (RGB, range 0-1) that is subtracted.
        std: Per-channel deviation (RGB, range 0-1) that is divided by.
        cache_bytes: Decoded images are kept in memory up to this size, per worker.

    Attributes:
        weights: How often each image is drawn, as proportions; None = every image once an epoch (see `weighted`).
    """

    def __init__(
        self,
        paths: Sequence[Path],
        targets: Sequence[int] | None,
        view: View,
        seed: int,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        cache_bytes: int = 0,
    ) -> None:
        if targets is not None and len(targets) != len(paths):
            raise ValueError(f"{len(paths)} images but {len(targets)} targets")
        self.paths = list(paths)
        self.targets = [0] * len(self.paths) if targets is None else list(targets)
        self.view = view
        self.seed = seed
        self.weights: NDArray[np.float64] | None = None
        self._mean = torch.tensor(mean, dtype=torch.float32).view(3, 1, 1) * 255
        self._std = torch.tensor(std, dtype=torch.float32).view(3, 1, 1) * 255
        self._cache: dict[int, NDArray[np.uint8]] = {}
        self._cache_left = cache_bytes

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def __getitem__(self, item: Item) -> tuple[Tensor, int]:
        """The normalised view, float32 RGB (3, size, size), or views, (V, 3, size, size), and its target."""
        epoch, index, *drawn = item
        rng = np.random.default_rng([self.seed, epoch, index, *drawn])
        values = torch.from_numpy(_planes(self.view(self._image(index), rng))).float()
        return values.sub_(self._mean).div_(self._std), self.targets[index]

    def subset(self, rows: Sequence[int]) -> ImageFiles:
        """Some of the images."""
        part = copy.copy(self)
        part.paths = [self.paths[row] for row in rows]
        part.targets = [self.targets[row] for row in rows]
        part.weights = None if self.weights is None else self.weights[list(rows)]
        part._cache = {}
        return part

    def weighted(self, weights: NDArray[np.float64] | None) -> ImageFiles:
        """The same images, drawn in training with replacement in proportion to weights, (N,); None: each once."""
        drawn = copy.copy(self)
        drawn.weights = weights
        drawn._cache = {}
        return drawn

    def pixels(self, values: Tensor) -> NDArray[np.uint8]:
        """Normalised images (N, 3, H, W) as people see them, uint8 RGB (N, H, W, 3); undoes the normalisation."""
        whole = torch.nan_to_num(values.detach().float().cpu() * self._std + self._mean)
        pixels: NDArray[np.uint8] = whole.round().clamp(0, 255).to(torch.uint8).movedim(1, -1).numpy()
        return pixels

    def _image(self, index: int) -> NDArray[np.uint8]:
        if index in self._cache:
            return self._cache[index]
        image = read_checked_image(self.paths[index])
        if image.nbytes <= self._cache_left:
            self._cache[index] = image
            self._cache_left -= image.nbytes
        return image


def _planes(view: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Channels first, (..., 3, H, W), of an image or several, (..., H, W, 3); OpenCV is faster at it than PyTorch."""
    if view.ndim > 3:
        return np.stack([_planes(part) for part in view])
    return np.stack(cv2.split(view), dtype=np.uint8)


class Share(NamedTuple):
    """Which part of a batch a process sees: of `every` images those at some places, in ascending order."""

    every: int
    places: tuple[int, ...]

    @property
    def size(self) -> int:
        """Images of a batch."""
        return len(self.places)


def batch_share(batch_size: int, part: int, num_parts: int, mirrored: bool = False) -> Share:
    """One process's part of every batch.

    Args:
        batch_size: Images a batch, of all processes; a multiple of `num_parts`, if mirrored of twice as many.
        part: Which part; the parts, one after the other, are the batch.
        num_parts: Processes that share a batch.
        mirrored: Whether image i belongs with image N-1-i, as in MixMIM: a part is then one of the batch's first half
            and the opposite one of its second half.
    """
    own = batch_size // num_parts
    if not mirrored:
        return Share(batch_size, tuple(range(part * own, (part + 1) * own)))
    first = tuple(range(part * (own // 2), (part + 1) * (own // 2)))
    return Share(batch_size, (*first, *(batch_size - 1 - place for place in reversed(first))))


class EpochSampler(Sampler[Item]):
    """Items (epoch, index) in an order that depends on (seed, epoch) alone; each iteration is the next epoch.

    It counts epochs itself: Lightning's count goes wrong where a training is resumed twice from the ends of epochs.

    Args:
        num_images: Number of images.
        seed: Seed of the order; None = in sequence.
        length: Items an epoch; more than `num_images` repeats images (a set smaller than a batch). None = all once.
        start: The epoch to begin with, and how many of its items are left out, since they were used before.
        weights: Proportions in which images are drawn with replacement, (num_images,); the further items of an
            image in an epoch are then (epoch, index, how often it was drawn before). None = every image once.
        share: This process's items of each batch; None = all. `length` and what is left out are of whole batches.

    Attributes:
        epoch: The epoch of the next iteration; stays 0 where items come in sequence.
    """

    def __init__(
        self,
        num_images: int,
        seed: int | None,
        length: int | None = None,
        start: tuple[int, int] = (0, 0),
        weights: NDArray[np.float64] | None = None,
        share: Share | None = None,
    ) -> None:
        self.num_images = num_images
        self.seed = seed
        self.length = num_images if length is None else length
        self.start = start
        self.weights = weights
        self.share = share
        self.epoch = start[0]

    @property
    def current(self) -> int:
        """The epoch of the latest iteration."""
        return self.epoch - (self.seed is not None)

    def __len__(self) -> int:
        """Items an epoch, of this process."""
        return self.length if self.share is None else self.length // self.share.every * self.share.size

    def __iter__(self) -> Iterator[Item]:
        """One epoch."""
        epoch = self.epoch
        self.epoch += self.seed is not None
        first = self.start[1] if epoch == self.start[0] else 0
        items = self._items(epoch)[first:]
        if self.share is not None:
            places = set(self.share.places)
            items = [item for place, item in enumerate(items) if place % self.share.every in places]
        yield from items

    def _items(self, epoch: int) -> list[Item]:
        if self.weights is None:
            return [(epoch, int(index)) for index in self._each_once(epoch)[: self.length]]
        assert self.seed is not None
        shares = self.weights / self.weights.sum()
        drawn = np.random.default_rng([self.seed, epoch]).choice(self.num_images, self.length, p=shares)
        items: list[Item] = []
        times: Counter[int] = Counter()
        for index in drawn.tolist():
            items.append((epoch, index, times[index]) if times[index] else (epoch, index))
            times[index] += 1
        return items

    def _each_once(self, epoch: int) -> NDArray[np.int64]:
        rounds = -(-self.length // self.num_images)
        if self.seed is None:
            return np.tile(np.arange(self.num_images), rounds)
        rng = np.random.default_rng([self.seed, epoch])
        return np.concatenate([rng.permutation(self.num_images) for _ in range(rounds)])


def training_loader(
    images: ImageFiles, batch_size: int, num_workers: int, batches_done: int = 0, share: Share | None = None
) -> Loader:
    """Whole batches, shuffled, or drawn by the images' weights; a set smaller than a batch is repeated to fill one.

    Args:
        images: What they are of.
        batch_size: Images a batch, of all processes.
        num_workers: Loader processes.
        batches_done: Batches that a training has used before; the first epoch is the rest of the one that they end in.
        share: This process's part of every batch, see `batch_share`; None = all of it.
    """
    share = batch_share(batch_size, 0, 1) if share is None else share
    batches = max(len(images), batch_size) // batch_size
    epoch, done = divmod(batches_done, batches)
    sampler = EpochSampler(
        len(images), images.seed, batches * batch_size, (epoch, done * batch_size), images.weights, share
    )
    return _loader(images, sampler, share.size, num_workers, drop_last=True)


def batch_items(loader: Loader, epoch: int, index: int) -> list[Item]:
    """The items (see `Item`) of a batch that a training loader has given, which is number `index` of its epoch."""
    assert isinstance(loader.sampler, EpochSampler) and loader.batch_size is not None
    sampler = copy.copy(loader.sampler)
    sampler.epoch, sampler.start = epoch, (-1, 0)  # of the whole epoch
    return list(sampler)[index * loader.batch_size : (index + 1) * loader.batch_size]


def evaluation_loader(
    images: ImageFiles, batch_size: int, num_workers: int, part: int = 0, num_parts: int = 1
) -> Loader:
    """Every image once, in order; or one process's part: image `part`, `part + num_parts` and so on.

    All parts have as many images: those that lack one take it from the first images again.
    """
    rounds = -(-len(images) // num_parts)
    sampler = EpochSampler(len(images), None, rounds * num_parts, share=Share(num_parts, (part,)))
    return _loader(images, sampler, batch_size, num_workers, drop_last=False)


def _loader(images: ImageFiles, sampler: EpochSampler, batch_size: int, num_workers: int, drop_last: bool) -> Loader:
    return DataLoader(
        images,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        drop_last=drop_last,
        persistent_workers=num_workers > 0,  # with their caches; an epoch can be a few batches
        pin_memory=torch.cuda.is_available(),
        # A generator of its own: making an iterator draws from it, not from the stream that masks and dropout use.
        generator=torch.Generator().manual_seed(images.seed),
        worker_init_fn=leave_signals_to_the_training,
    )
