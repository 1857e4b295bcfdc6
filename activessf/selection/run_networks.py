"""Networks for features that were trained on the data set itself, each fold's own: leak-free because it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from activessf.artifacts import content_hash
from activessf.backbones.described import described_network
from activessf.backbones.pooling import PooledTokens
from activessf.data.datasets import IMAGENET_MEAN, IMAGENET_STD
from activessf.errors import InputError
from activessf.manifests import BOX, read_json, read_table
from activessf.pretrained import existing_checkpoint, load_weights, read_state_dict
from activessf.selection.networks import Loaded


@dataclass(frozen=True)
class PretrainedEncoder:
    """The encoder of a pretraining (stage 3); a transformer's features are its pooled patch tokens.

    Attributes:
        checkpoint: An `encoder.safetensors` with the `inputs.json` that pretraining wrote beside it, or None.
        run: A run's folder, whose folds' own encoders are used, or None. With `checkpoint`, that nothing of the test
            cells' images was seen is the user's to know; a run's encoders have not seen them by construction.
        fold: The fold, of `run`.
    """

    checkpoint: str | None
    run: str | None
    fold: int | None = None

    @property
    def name(self) -> str:
        """The name of the option."""
        return "ssl_encoder"

    def of_fold(self, fold: int) -> PretrainedEncoder:
        """The encoder of one fold."""
        return replace(self, fold=fold)

    def check(self, image_size: int) -> None:
        """See `FeatureNetwork`."""
        _check_size(self._settings(), image_size, self._file())

    def check_unseen(self, test: pd.DataFrame) -> None:
        """See `FeatureNetwork`: where a run is named, it must have tested these very cells."""
        if self.run is not None:
            _check_tested(_fold_folder(self.run, self.fold), test)

    def identity(self) -> dict[str, Any]:
        """See `FeatureNetwork`."""
        return {"encoder": self._settings(), "weights": content_hash(self._file())}

    def load(self) -> Loaded:
        """See `FeatureNetwork`."""
        encoder = described_network(self._settings(), num_classes=0)
        load_weights(encoder, read_state_dict(self._file()), self._file())
        return Loaded(PooledTokens(encoder).eval(), IMAGENET_MEAN, IMAGENET_STD)

    def _file(self) -> Path:
        if (self.checkpoint is None) == (self.run is None):
            raise InputError(
                "selection.features=ssl_encoder needs one of selection.features.run=FOLDER (a run's, such as "
                "outputs/runs/NAME) and selection.features.checkpoint=FILE (a pretraining's encoder.safetensors)."
            )
        if self.checkpoint is not None:
            return existing_checkpoint(self.checkpoint)
        assert self.run is not None
        folder = _fold_folder(self.run, self.fold)
        pretraining = read_json(folder / "run.json").get("pretraining")
        if not pretraining:
            raise InputError(f"{folder} was not pretrained, so it has no encoder; name a run with ssl=mae or another.")
        stages = folder.parent.parent.parent / "stages"
        return existing_checkpoint(stages / "pretraining" / str(pretraining) / "encoder.safetensors")

    def _settings(self) -> dict[str, Any]:
        inputs = read_json(self._file().parent / "inputs.json")
        backbone = inputs.get("backbone") if isinstance(inputs, dict) else None
        if not isinstance(backbone, dict):
            raise InputError(f"{self._file().parent / 'inputs.json'} names no backbone; name a result of pretraining.")
        return backbone


@dataclass(frozen=True)
class FinetunedNetwork:
    """The classifier of a run, without its head: fine-tuned on the labeled cells of the fold's training folds.

    Attributes:
        run: The run's folder, such as outputs/runs/NAME; every fold uses the network of its own fold.
        fold: The fold.
    """

    run: str | None
    fold: int | None = None

    @property
    def name(self) -> str:
        """The name of the option."""
        return "finetuned"

    def of_fold(self, fold: int) -> FinetunedNetwork:
        """The network of one fold."""
        return replace(self, fold=fold)

    def check(self, image_size: int) -> None:
        """See `FeatureNetwork`."""
        _check_size(self._settings(), image_size, self._file())

    def check_unseen(self, test: pd.DataFrame) -> None:
        """See `FeatureNetwork`: the run must have tested these very cells, and so not have trained on them."""
        _check_tested(self._folder(), test)

    def identity(self) -> dict[str, Any]:
        """See `FeatureNetwork`."""
        return {"network": self._settings(), "weights": content_hash(self._file())}

    def load(self) -> Loaded:
        """See `FeatureNetwork`."""
        # A run of before there was a choice of pooling names none.
        pool = self._run_settings().get("ssl_method.finetuning_pool", "avg")
        network = described_network(self._settings(), num_classes=0, global_pool=pool)
        load_weights(network, read_state_dict(self._file()), self._file())
        return Loaded(network.eval(), IMAGENET_MEAN, IMAGENET_STD)

    def _folder(self) -> Path:
        if self.run is None:
            raise InputError(
                "selection.features=finetuned needs selection.features.run=FOLDER, a run's such as outputs/runs/NAME; "
                "train.py ssl=none backbone=resnet50 makes one."
            )
        return _fold_folder(self.run, self.fold)

    def _file(self) -> Path:
        file = self._folder() / "network.safetensors"
        if not file.is_file():
            raise InputError(
                f"{file.parent} has no network of its own: its encoder was not fine-tuned; name a run with "
                "evaluation=finetune."
            )
        return file

    def _settings(self) -> dict[str, Any]:
        prefix = "backbone."
        settings = self._run_settings()
        return {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}

    def _run_settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = read_json(self._folder() / "run.json")["settings"]
        return settings


def _check_size(settings: Mapping[str, Any], image_size: int, origin: Path) -> None:
    size = settings.get("img_size")
    if size is not None and size != image_size:
        raise InputError(
            f"{origin} was trained on images of {size} pixels, and {image_size} are asked for; set "
            f"selection.features.image_size={size}."
        )


def _fold_folder(run: str, fold: int | None) -> Path:
    folder = Path(run).expanduser().absolute() / f"fold_{fold}"
    if not (folder / "run.json").is_file():
        raise InputError(
            f"selection.features.run={run} has no finished fold {fold}; train that run with fold={fold} first, or name "
            "another run's folder."
        )
    return folder


def _check_tested(folder: Path, test: pd.DataFrame) -> None:
    """Whether the cells that a run has tested are those of a fold: only then has it not been trained on them."""
    keys = ["image", *BOX]
    tested = read_table(folder / "predictions.csv", keys)
    if _sorted_rows(tested[keys]) != _sorted_rows(test[keys]):
        raise InputError(
            f"{folder} tested other cells than this fold does, so its network may have been trained on this fold's "
            "test cells; name a run of the same data, data.num_folds and seed."
        )


def _sorted_rows(cells: pd.DataFrame) -> list[tuple[Any, ...]]:
    return sorted(cells.fillna(-1).itertuples(index=False, name=None))  # a NaN would differ from itself
