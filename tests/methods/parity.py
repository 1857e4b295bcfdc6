"""Compare a method with the figures of its published code: mask, outputs, loss, gradients, steps, logits."""

import json
from functools import cached_property
from pathlib import Path

import golden_arrays
import numpy as np
import torch

GOLDEN = Path(__file__).parent / "golden"


def published_tables():
    """Facts of the published sizes, by method."""
    return json.loads((GOLDEN / "tables.json").read_text())


class Case:
    """One configuration of a published method, and what its code gave."""

    def __init__(self, method, name):
        self.figures = json.loads((GOLDEN / f"{method}.json").read_text())
        self.made = self.figures["configs"][name]
        self.sizes = self.made["config"]
        self.tolerance = self.figures["tolerance"]["float64"]

    @cached_property
    def inputs(self):
        """Images and noise by their names, float64."""
        make = {True: golden_arrays.noise, False: golden_arrays.images}
        return {name: torch.from_numpy(make[name == "noise"](**how)) for name, how in self.made["inputs"].items()}

    def load(self, module, ours, keys=None):
        """Load made weights by their published names; `ours` gives our name, or None for what is left as it is.

        What the published code defines itself (tables, counters) keeps the module's values; every other name of the
        module must be loaded.
        """
        weights = self.weights(ours, keys)
        own = module.state_dict()
        left = {name for name in own if not golden_arrays.is_made(name)}
        assert set(own) - set(weights) <= left, sorted(set(own) - set(weights) - left)
        module.load_state_dict({**own, **weights})

    def weights(self, ours, keys=None):
        """Made weights by our names."""
        return {
            ours(name): torch.from_numpy(golden_arrays.weights(self.made["prefix"] + name, shape))
            for name, shape in (keys or self.made["keys"]).items()
            if golden_arrays.is_made(name) and ours(name) is not None
        }

    def check_output(self, run, name, value):
        """An output of the network."""
        found = golden_arrays.deviation(self.made["runs"][run]["outputs"][name], value.detach().numpy())
        assert found <= self.tolerance["outputs"], (name, found)

    def check_loss(self, run, loss):
        """The loss, a scalar tensor."""
        assert abs(loss.item() - self.made["runs"][run]["loss"]) <= self.tolerance["loss"]

    def check_gradients(self, run, module, ours):
        """Every gradient of the published code, and none besides."""
        expected = self.made["runs"][run]["gradients"]
        limit = self.tolerance["gradients_over_max"] * expected["max_abs"]
        found = {name: value.grad for name, value in module.named_parameters() if value.grad is not None}
        for name, entry in expected["tensors"].items():
            assert golden_arrays.deviation(entry, found[ours(name)].numpy()) <= limit, name
        assert set(found) == {ours(name) for name in expected["tensors"]}

    def check_steps(self, run, parameter_groups, loss_of):
        """Losses after one and two optimiser steps; gradients of the first loss must be there."""
        recipe = self.figures["optimizer"]
        optimizer = torch.optim.AdamW(
            parameter_groups(recipe["lr"], recipe["weight_decay"]), lr=recipe["lr"], betas=tuple(recipe["betas"]),
            eps=recipe["eps"],
        )  # fmt: skip
        expected = self.made["runs"][run]["loss_after_adamw_step"]
        for step in ("step1", "step2"):
            optimizer.step()
            optimizer.zero_grad()
            loss = loss_of()
            loss.backward()
            assert abs(loss.item() - expected[step]) <= self.tolerance[step], step

    def check_logits(self, logits):
        """Logits of the fine-tuning network in evaluation mode."""
        expected = np.array(self.made["finetune"]["logits"])
        assert np.abs(logits.detach().numpy() - expected).max() <= self.tolerance["logits"]
