"""A training that was stopped goes on with the numbers that it would have had."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn

from activessf.data.augmentations import RandomView
from activessf.data.datasets import ImageFiles, training_loader
from activessf.data.images import write_png
from activessf.methods.decoder import PixelDecoder
from activessf.methods.mae import MAE
from activessf.methods.method import SelfSupervisedMethod
from activessf.methods.mocov3 import MoCoV3
from activessf.training.finetuning import Finetuning
from activessf.training.losses import LDAMLoss
from activessf.training.optimization import Optimization
from activessf.training.resuming import Checkpoints, SaveCheckpoints, TrainingData, joined
from activessf.training.retraining import freeze_backbone

STEPS, BATCH = 11, 4  # of 10 images, so two batches and a rest an epoch
OPTIMIZATION = Optimization(
    partial(torch.optim.AdamW, fused=True), 1e-2, BATCH, 0.05, 0.75, 0.0, warmup_steps=2, total_steps=STEPS
)
VIT = partial(timm.create_model, "vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)


class Stopped(RuntimeError):
    pass


class StopAfter(Callback):
    """Stops a training after a step: as soon as it ends, or when the next begins."""

    def __init__(self, step: int, at_once: bool) -> None:
        self.step, self.at_once = step, at_once

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step == self.step and self.at_once:
            raise Stopped

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
        if trainer.global_step == self.step:
            raise Stopped


def masked() -> SelfSupervisedMethod:
    """Draws masks."""
    method = MAE(VIT, partial(PixelDecoder, embed_dim=16, depth=1, num_heads=2), 0.75, False)
    method.optimization = OPTIMIZATION
    return method


def contrasting() -> SelfSupervisedMethod:
    """Has slow copies, whose momentum rises with the progress of the training, and running statistics."""
    method = MoCoV3(VIT, 24, 16, temperature=0.2, momentum=0.9, stop_grad_conv1=True)
    method.optimization = OPTIMIZATION
    return method


def classifier() -> Finetuning:
    """Draws dropped paths, and has running statistics."""
    network = nn.Sequential(nn.BatchNorm2d(3), VIT(num_classes=3, global_pool="avg", drop_path_rate=0.5))
    module = Finetuning(network, nn.CrossEntropyLoss(), OPTIMIZATION)
    module.configure_optimizers = lambda: OPTIMIZATION.configure(network[1])  # type: ignore[method-assign]
    return module


def frozen() -> Finetuning:
    """Trains its head alone."""
    network = timm.create_model("resnet10t", num_classes=3)
    freeze_backbone(network)
    return Finetuning(network, nn.CrossEntropyLoss(), OPTIMIZATION)


def with_margins() -> Finetuning:
    """Its loss changes with the progress of the training."""
    module = classifier()
    module.loss = LDAMLoss([4, 3, 3], max_margin=0.5, scale=30.0, reweight_from=0.5, beta=0.9)
    return module


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageFiles:
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(10)]
    for path in paths:
        write_png(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8), path)
    return ImageFiles(paths, [number % 3 for number in range(10)], RandomView(32, (0.3, 1.0)), seed=5)


def train(make, images: ImageFiles, folder: Path, stop: int | None = None, workers=0, minutes=0, at_once=False):
    """The state after a training that may be stopped, and what was logged."""
    seed_everything(0, verbose=False)
    module, checkpoints = make(), Checkpoints(folder / "checkpoints")
    history = CSVLogger(folder / f"log_{stop}", name="", version="history")
    resumed = checkpoints.newest()
    before = checkpoints.history(resumed)
    stopping = [] if stop is None else [StopAfter(stop, at_once)]
    trainer = Trainer(
        accelerator="cpu", max_steps=STEPS, max_epochs=-1, logger=history, enable_checkpointing=False,
        callbacks=[SaveCheckpoints(checkpoints, minutes, history, before), *stopping],
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(module, datamodule=TrainingData(images, BATCH, workers), ckpt_path=resumed)
    return {name: value.clone() for name, value in module.state_dict().items()}, joined(before, history)


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return set(found) == set(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(("make", "workers"), [(masked, 0), (masked, 2), (classifier, 0)])
def test_a_training_that_was_stopped_ends_with_the_same_bits(make, workers, images, tmp_path) -> None:
    expected, logged = train(make, images, tmp_path / "whole")
    for stop in (1, 4, 7) if not workers else (3,):  # 4 ends an epoch, 1 and 7 don't
        folder = tmp_path / str(stop)
        with pytest.raises(Stopped):
            train(make, images, folder, stop, workers)
        found, history = train(make, images, folder, None, workers)
        assert same(found, expected), stop
        columns = [name for name in logged if name.endswith("loss")]
        pd.testing.assert_frame_equal(history[columns], logged[columns])


def test_slow_copies_and_their_momentum_go_on_where_they_were(images, tmp_path) -> None:
    view = RandomView(32, (0.3, 1.0))
    pairs = ImageFiles(images.paths, None, lambda image, rng: np.stack([view(image, rng) for _ in range(2)]), seed=5)
    expected, _ = train(contrasting, pairs, tmp_path / "whole")
    slow = {name: value for name, value in expected.items() if name.startswith("momentum_encoder.blocks.")}
    assert slow and not any(
        torch.equal(value, expected[name.removeprefix("momentum_")]) for name, value in slow.items()
    )
    for stop in (3, 8):
        with pytest.raises(Stopped):
            train(contrasting, pairs, tmp_path / str(stop), stop)
        found, _ = train(contrasting, pairs, tmp_path / str(stop))
        assert same(found, expected), stop


@pytest.mark.parametrize("make", [frozen, with_margins])
def test_one_that_draws_by_weight_does_so_too_with_its_head_alone_and_with_a_loss_that_changes(
    make, images, tmp_path
) -> None:
    drawn = images.weighted(np.arange(1.0, 11.0))
    expected, _ = train(make, drawn, tmp_path / "whole")
    for stop in (4, 7):  # 4 ends an epoch
        with pytest.raises(Stopped):
            train(make, drawn, tmp_path / str(stop), stop)
        assert same(train(make, drawn, tmp_path / str(stop))[0], expected), stop
    assert not same(train(make, images, tmp_path / "natural")[0], expected)


def test_a_training_may_be_stopped_again_and_again(images, tmp_path) -> None:
    expected, _ = train(masked, images, tmp_path / "whole")
    for stop in (2, 4, 5, 8, 10):  # 2, 4, 8 and 10 end an epoch
        with pytest.raises(Stopped):
            train(masked, images, tmp_path / "often", stop, at_once=True)
    assert same(train(masked, images, tmp_path / "often")[0], expected)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(images, tmp_path) -> None:
    expected, _ = train(masked, images, tmp_path / "whole")
    with pytest.raises(Stopped):
        train(masked, images, tmp_path, 6)
    older, newest = sorted((tmp_path / "checkpoints").glob("*.ckpt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    with pytest.warns(UserWarning, match=f"{newest.name} is damaged"):
        assert Checkpoints(tmp_path / "checkpoints").newest() == older
    with pytest.warns(UserWarning, match="is damaged"):
        assert same(train(masked, images, tmp_path)[0], expected)


def test_two_are_kept_and_none_is_left_when_they_are_cleared(images, tmp_path) -> None:
    train(masked, images, tmp_path)
    folder = tmp_path / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{step:010d}{suffix}" for step in (STEPS - 2, STEPS - 1) for suffix in (".ckpt", ".csv")
    ]
    Checkpoints(folder).clear()
    assert not folder.exists()
    Checkpoints(folder).clear()
    assert Checkpoints(folder).newest() is None


def test_nothing_is_saved_before_it_is_time(images, tmp_path) -> None:
    train(masked, images, tmp_path, minutes=60)
    assert not (tmp_path / "checkpoints").exists()


def test_a_loader_goes_on_in_the_epoch_that_was_begun(images) -> None:
    loader, rest = training_loader(images, BATCH, 0), training_loader(images, BATCH, 0, batches_done=3)
    _, second, third = ([batch[0] for batch in loader] for _ in range(3))
    for expected in (second[1:], third):
        found = [batch[0] for batch in rest]
        assert len(found) == len(expected) and all(map(torch.equal, found, expected))
    assert len(rest) == 2  # of a whole epoch


def killed_while_writing(folder: Path, name: str, content: bytes) -> None:
    """What `replacing` leaves of a file when its process is killed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    (folder / f".{path.stem}.k1ll3d{path.suffix}").write_bytes(content)


@pytest.mark.filterwarnings("error:.*is damaged")
def test_a_checkpoint_that_was_being_written_counts_for_nothing_and_goes(images, tmp_path) -> None:
    expected, logged = train(masked, images, tmp_path / "whole")
    whole = sorted((tmp_path / "whole" / "checkpoints").glob("*.ckpt"))[-1].read_bytes()
    for number, content in enumerate((b"", whole[:1000], whole)):  # also one that only had to be renamed
        checkpoints = tmp_path / str(number) / "checkpoints"
        killed_while_writing(checkpoints, "0000000001.ckpt", content)
        assert Checkpoints(checkpoints).newest() is None
        with pytest.raises(Stopped):
            train(masked, images, tmp_path / str(number), 3)
        assert not list(checkpoints.glob(".*"))
        killed_while_writing(checkpoints, "0000000004.ckpt", content)
        found, history = train(masked, images, tmp_path / str(number))
        assert same(found, expected) and len(history) == len(logged)
        Checkpoints(checkpoints).clear()
        assert not checkpoints.exists()


def test_a_history_that_was_being_written_counts_for_nothing(images, tmp_path) -> None:
    with pytest.raises(Stopped):
        train(masked, images, tmp_path, 1, at_once=True)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    killed_while_writing(checkpoints.folder, "0000000001.csv", b"")
    resumed = checkpoints.newest()
    assert resumed is not None and checkpoints.history(resumed).empty
    train(masked, images, tmp_path)
    assert not list(checkpoints.folder.glob(".*"))
