"""What published weights are worth where there are few images: pretraining on sixteen made-up cells."""

import foreign
import numpy as np
import pandas as pd
import pytest
import torch
from small_sets import autoencoder, error, pretrain

from activessf.checkpoints.loading import load_encoder, load_method
from activessf.data.augmentations import resize
from activessf.data.images import crop, read_image

STEPS = 20


@pytest.fixture(scope="module")
def cells(demo):
    """Labeled cells of the demo, (N, 3, 32, 32)."""
    boxes = pd.read_csv(demo / "cells.csv").itertuples()
    crops = [resize(crop(read_image(demo / b.image), b.x, b.y, b.width, b.height), 32) for b in boxes]
    return (torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() - 128) / 64


@pytest.fixture(scope="module")
def published(cells, tmp_path_factory):
    """A file as that of the published code, of a network that has seen other cells for longer."""
    file = tmp_path_factory.mktemp("weights") / "published.pth"
    method = pretrained(mae(), cells[:45], 15 * STEPS)
    torch.save({"model": foreign.original_autoencoder(method.state_dict())}, file)
    return file


def mae():
    return autoencoder(mask_ratio=0.75, depth=1, seed=1)


def pretrained(method, images, steps):
    return pretrain(method, images, steps, lr=2e-3, seed=2)


def test_published_weights_predict_unseen_cells_better_than_a_start_from_scratch_after_as_many_steps(cells, published):
    few = cells[45:61]
    scratch = error(pretrained(mae(), few, STEPS), cells[61:])
    whole, encoder_alone = mae(), mae()
    load_method(whole, published)
    load_encoder(encoder_alone.encoder, published)
    # By a little where the decoder has to be learned anew, by far where it comes with the encoder.
    assert error(pretrained(encoder_alone, few, STEPS), cells[61:]) < 0.97 * scratch
    assert error(pretrained(whole, few, STEPS), cells[61:]) < 0.5 * scratch


def test_a_longer_schedule_on_few_cells_predicts_unseen_ones_better(cells):
    few = cells[45:61]
    untrained, short, long = (error(pretrained(mae(), few, steps), cells[61:]) for steps in (0, STEPS, 4 * STEPS))
    assert long < 0.6 * short < 0.6 * 0.8 * untrained
