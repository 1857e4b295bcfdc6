"""Every option of every group composes, builds what it names, and says what its comments say."""

import json
import os
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from pytorch_lightning import Trainer
from torch import nn

from activessf.checking import _SWITCHES
from activessf.cli.spelling import canonical
from activessf.configuration import CONF, FOLDING, build, flat, plain, without
from activessf.data.class_weights import drawing_weights
from activessf.data.datasets import ImageFiles
from activessf.data.images import write_png
from activessf.data.source import Source
from activessf.methods.method import SelfSupervisedMethod
from activessf.regions.filtering import RegionFilter
from activessf.selection.features import FeatureExtractor
from activessf.training.optimization import scaled_lr
from activessf.training.watching.settings import Watch

# The others are for configuration files only.
GROUPS = sorted(
    {path.parent.relative_to(CONF).as_posix() for path in CONF.rglob("*.yaml")}
    - {".", "hydra/help", "selection/strategy", "backbone/default", "backbone/resnet"}
)
# A strategy is built without these, as in the pipeline.
NO_PART_IN_SELECTION = ("name", "pool", "scope", "features")


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.fixture(autouse=True, scope="module")
def composing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patch, initialize_config_dir(str(CONF), version_base="1.3"):
        patch.setenv("ACTIVESSF_ROOT", str(root))
        patch.setenv("ACTIVESSF_PROCESS", "1234")
        yield root


@cache  # nobody changes what it gives
def composed(*overrides: str) -> DictConfig:
    return compose("config", canonical(overrides))


# All options


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_of_a_group_composes_and_resolves(group: str) -> None:
    assert options(group)
    for option in options(group):
        if option == "slurm" and find_spec("hydra_plugins.hydra_submitit_launcher") is None:
            continue  # an extra
        config = composed(f"{group}={option}")
        resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        assert isinstance(resolved, dict) and set(resolved) >= {"data", "backbone", "selection", "recipe", "seed"}
        for key in ("data", "backbone", "ssl_method", "selection", "recipe"):
            if group == key:
                assert config[key].name == option


def test_the_groups_are_those_that_the_documentation_names() -> None:
    expected = {"data", "regions", "backbone", "ssl_method", "selection", "fold", "loss", "recipe", "experiment"}
    assert set(GROUPS) >= expected | {
        "sampler",
        "evaluation",
        "trainer",
        "logger",
        "selection/features",
        "experiment/row",
    }


def test_folds_are_whole_numbers() -> None:
    assert [composed(f"fold={fold}").fold.index for fold in range(5)] == list(range(5))
    assert options("fold") == list("01234")


def test_an_option_of_an_earlier_group_beats_the_one_that_a_data_set_brings() -> None:
    assert composed("data=chula_rbc12").regions.normalisation == "gray_world"
    assert composed("data=chula_rbc12").crop_size == 80 and composed("data=bccd").crop_size is None
    assert composed("data=chula_rbc12", "regions=paper").regions.normalisation == "minmax"
    assert composed("recipe=quick", "backbone=vit_tiny").backbone.name == "vit_tiny"


# Built


def made_up_root(name: str, root: Path, classes: list[str]) -> Path:
    """The smallest data set of a kind: one cell of every class."""
    folder = root / name
    for part in ("slides", "images", "labels", "JPEGImages", "Annotations", *(f"cells/{label}" for label in classes)):
        (folder / part).mkdir(parents=True)
    picture = Image.new("RGB", (200, 160))
    box = "".join(
        f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), (1, 1, 9, 9), strict=True)
    )
    for number, label in enumerate(classes):
        for image in (f"slides/{number}.png", f"images/{number}.png", f"JPEGImages/{number}.jpg"):
            picture.save(folder / image)
        picture.save(folder / f"cells/{label}/{number}.png")
        (folder / f"labels/{number}.txt").write_text(f"50 50 {number}\n")
        (folder / f"Annotations/{number}.xml").write_text(
            "<annotation><size><width>200</width><height>160</height></size>"
            f"<object><name>WBC</name><bndbox>{box}</bndbox></object></annotation>"
        )
    coco = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(len(classes))],
        "categories": [{"id": number, "name": label} for number, label in enumerate(classes)],
        "annotations": [
            {"id": number, "image_id": number, "category_id": number, "bbox": [0, 0, 9, 9]}
            for number in range(len(classes))
        ],
    }
    (folder / "annotations.json").write_text(json.dumps(coco))
    rows = [f"slides/{number}.png,{label}" for number, label in enumerate(classes)]
    (folder / "cells.csv").write_text("\n".join(["image,label", *rows]) + "\n")
    rows = [f"{number}.jpg,{label}" for number, label in enumerate(classes)]
    (folder / "subtypes.csv").write_text("\n".join(["image,wbc_subtypes", *rows]) + "\n")
    return folder


@pytest.mark.parametrize("name", options("data"))
def test_data_gives_a_source(name: str, tmp_path: Path) -> None:
    overrides = [f"data={name}"]
    if name == "demo":
        overrides += [f"paths.output_dir={tmp_path}", "data.num_labeled_slides=4", "data.num_unlabeled_slides=1"]
    else:
        classes = composed(f"data={name}").data.classes or ["x", "y"]
        overrides.append(f"data.root={made_up_root(name, tmp_path, list(classes))}")
    data = composed(*overrides).data
    source = instantiate(without(data, "name", *FOLDING))
    assert isinstance(source, Source) and data.num_folds == 5  # III.A
    assert set(source.cells["label"]) == set(source.classes) and source.slides
    assert source.root.is_relative_to(tmp_path)
    if name != "demo":
        assert len(source.cells) == len(source.classes) == len(classes)
        assert list(source.classes) == list(classes) and source.rare == tuple(data.rare)


@pytest.mark.parametrize("name", options("regions"))
def test_regions_give_a_filter(name: str) -> None:
    assert isinstance(instantiate(composed(f"regions={name}").regions), RegionFilter)


WIDTHS = {
    **{"vit_base": 768, "vit_small": 384, "vit_tiny": 192, "vit_mini": 128},
    **{"convvit_base": 768, "convvit_small": 384, "convvit_tiny": 192, "convvit_mini": 128},
    **{"mixmim_base": 1024, "mixmim_small": 512, "mixmim_tiny": 256, "mixmim_mini": 192},
    **{"resnet18": 512, "resnet50": 2048, "resnetv2_50": 2048, "dinov2_base": 768, "dinov2_small": 384},
}


@pytest.mark.parametrize("name", options("backbone"))
def test_a_backbone_is_built_and_classifies_images_of_the_recipe(name: str) -> None:
    size = 56 if name.startswith("dinov2") else 48  # its patches have 14 pixels
    config = composed("recipe=quick", f"backbone={name}", f"recipe.image_size={size}")
    network = instantiate(without(config.backbone, "name", "checkpoint"))(
        num_classes=11, global_pool="avg", drop_path_rate=0.1
    )
    assert isinstance(network, nn.Module) and config.backbone.pretrained is False and config.backbone.checkpoint is None
    if not name.endswith("_base"):
        with torch.inference_mode():
            assert network.eval()(torch.zeros(1, 3, size, size)).shape == (1, 11)
    assert network.num_features == WIDTHS[name]


@pytest.mark.parametrize("name", options("ssl_method"))
def test_a_method_is_built_round_a_backbone_and_has_a_loss(name: str, composing: Path) -> None:
    config = composed("recipe=quick", f"ssl={name}")
    assert config.ssl_method.name == name
    if name == "none":
        assert config.ssl_method.method is None
        return
    backbone = instantiate(without(config.backbone, "name", "checkpoint"))
    method = instantiate(config.ssl_method.method, backbone=backbone)
    assert isinstance(method, SelfSupervisedMethod) and len(config.ssl_method.betas) == 2
    method.check_batch(config.recipe.pretraining.batch_size)
    images = ImageFiles([composing / "picture.png"], None, build(config.ssl_method.view), seed=0)
    write_png(np.zeros((60, 70, 3), np.uint8), composing / "picture.png")
    batch = torch.stack([images[0, 0][0]] * max(2, method.batch_multiple))
    assert batch.shape[-3:] == (3, config.recipe.image_size, config.recipe.image_size)
    assert torch.isfinite(method(batch, 0.5))


@pytest.mark.parametrize("name", options("selection"))
def test_a_selection_is_built_as_the_pipeline_does(name: str) -> None:
    selection = composed(f"selection={name}").selection
    assert selection.name == name and selection.scope == "train_fold"
    assert selection.pool == ("slides" if name == "none" else "regions")
    if name != "none":
        strategy = build(without(selection, *NO_PART_IN_SELECTION))
        assert callable(strategy.select) and strategy.needs_features == (name != "crf")


@pytest.mark.parametrize("name", options("selection/features"))
def test_features_have_an_extractor_that_survives_the_choice_of_a_selection(name: str) -> None:
    for selection in ("activessf", "random", "none"):
        config = composed(f"selection.features={name}", f"selection={selection}")
        extractor = instantiate(config.selection.features)
        assert isinstance(extractor, FeatureExtractor) and name in (extractor.model_name, extractor.model_name[3:])
        assert extractor.image_size == config.recipe.feature_image_size == 224


@pytest.mark.parametrize("name", options("loss"))
def test_a_loss_is_a_number_of_logits_and_targets(name: str) -> None:
    settings = dict(composed(f"loss={name}").loss)
    settings.pop("normalised_classifier", None)  # the network's to know
    loss = instantiate(settings)
    loss = loss if isinstance(loss, nn.Module) else loss(class_counts=[9, 3, 1])
    value = loss(torch.randn(6, 3, requires_grad=True), torch.tensor([0, 1, 2, 0, 1, 2]))
    assert value.shape == () and torch.isfinite(value)


SHARES = {
    "natural": None,
    "class_balanced": [1 / 3, 1 / 3, 1 / 3],
    "sqrt": [4 / 7, 2 / 7, 1 / 7],
    "effective_number": [0.335, 0.333, 0.332],  # of 16, 4 and 1 cells, with beta 0.999
}


@pytest.mark.parametrize("name", options("sampler"))
def test_a_sampler_draws_the_classes_in_the_shares_that_its_name_says(name: str) -> None:
    targets = [0] * 16 + [1] * 4 + [2]
    drawn = drawing_weights(targets, 3, **plain(composed(f"sampler={name}").sampler))
    if drawn is None:
        assert SHARES[name] is None
        return
    assert np.bincount(targets, drawn) / drawn.sum() == pytest.approx(SHARES[name], abs=2e-3)


def test_losses_have_the_numbers_of_their_papers() -> None:
    losses = {name: plain(composed(f"loss={name}").loss) for name in options("loss")}
    assert set(losses) == {"cross_entropy", "weighted", "focal", "balanced_softmax", "logit_adjusted", "ldam"}
    assert losses["focal"]["gamma"] == 2.0 and losses["logit_adjusted"]["tau"] == 1.0
    ldam = {"max_margin": 0.5, "scale": 30.0, "normalised_classifier": True, "reweight_from": 160 / 200, "beta": 0.9999}
    assert ldam.items() <= losses["ldam"].items()
    assert composed().loss == losses["cross_entropy"] and composed().loss.label_smoothing == 0.1


@pytest.mark.parametrize("name", options("evaluation"))
def test_an_evaluation_fine_tunes_or_has_a_classifier_of_features(name: str) -> None:
    config = composed(f"evaluation={name}").evaluation
    assert config.name == name and (build(config.classifier) is None) == (name == "finetune")
    if name == "knn":  # as the probe that watches a pretraining
        watch = composed().watch
        found = (config.classifier.neighbours, config.classifier.temperature)
        assert found == (watch.knn_neighbours, watch.knn_temperature)


@pytest.mark.parametrize("name", options("trainer"))
def test_a_trainer_runs_on_one_device(name: str) -> None:
    config = composed(f"trainer={name}").trainer
    assert config.devices == 1
    if name == "gpu" and not torch.cuda.is_available():
        assert config.accelerator == "gpu" and config.precision == "bf16-mixed"
        pytest.skip("trainer=gpu is built where there is a CUDA device")
    trainer = instantiate(config)(max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    assert isinstance(trainer, Trainer) and trainer.world_size == 1


def test_the_watch_is_what_the_configuration_says_and_nothing_else() -> None:
    watch = Watch(**plain(composed().watch))
    assert (watch.every, watch.steps, watch.num_images, watch.probe) == (20, None, 8, True)
    assert (watch.knn_neighbours, watch.knn_temperature) == (20, 0.07)


@pytest.mark.parametrize("name", options("logger"))
def test_a_logger_can_be_made(name: str, tmp_path: Path) -> None:
    assert os.environ["WANDB_MODE"] == "disabled"
    make = instantiate(composed(f"logger={name}").logger)
    made = make(name="a", group="b", directory=tmp_path, config={})
    assert len(made) == (name == "wandb")


@pytest.mark.parametrize("name", options("recipe"))
def test_the_views_of_a_recipe_have_its_size(name: str) -> None:
    recipe = composed(f"recipe={name}").recipe
    assert recipe.image_size % recipe.patch_size == 0
    for stage in (recipe.pretraining, recipe.finetuning):
        assert instantiate(stage.view).size == recipe.image_size
        assert (stage.epochs is None) != (stage.steps is None)
        assert (stage.warmup_epochs is None) != (stage.warmup_steps is None)


# The paper's numbers


def test_the_paper_recipe_has_the_numbers_of_section_iii_b() -> None:
    config = composed()
    recipe = config.recipe
    assert recipe.name == "paper" and recipe.image_size == recipe.feature_image_size == 224
    assert recipe.pretraining.epochs == 400 and recipe.finetuning.epochs == 50
    assert config.ssl_method.finetuning_layer_decay == 0.75
    for stage in (recipe.pretraining, recipe.finetuning):
        numbers = {name: stage[name] for name in ("batch_size", "base_lr", "weight_decay", "warmup_epochs")}
        assert numbers == {"batch_size": 64, "base_lr": 1e-3, "weight_decay": 0.05, "warmup_epochs": 5}
        assert stage.layer_decay == 0.75 and stage.steps is None
    assert config.ssl_method.layer_decay == 0.75 and config.ssl_method.method.mask_ratio == 0.75
    assert config.backbone.name == "vit_base" and config.selection.features.model_name == "resnet50"
    # Where the paper is silent: nothing is mixed or averaged, the mean token is classified, the last epoch counts.
    finetuning = recipe.finetuning
    assert (finetuning.mixup, finetuning.cutmix, finetuning.ema_decay, finetuning.checkpoint) == (0, 0, None, "last")
    assert config.ssl_method.finetuning_pool == "avg" and config.evaluation.name == "finetune"


@pytest.mark.parametrize("method", ["mae", "convmae", "mixmim", "mocov3"])
def test_the_official_recipe_is_that_of_the_methods_fact_sheet(method: str) -> None:
    config = composed(f"ssl={method}", "recipe=official")
    peak = {"mae": 2.4e-3, "convmae": 1.8e-3, "mixmim": 1.2e-3, "mocov3": 2.4e-3}[method]
    pretraining, finetuning = config.recipe.pretraining, config.recipe.finetuning
    assert scaled_lr(pretraining.base_lr, pretraining.batch_size) == pytest.approx(peak)
    assert pretraining.warmup_epochs == 40 and pretraining.layer_decay == config.ssl_method.layer_decay == 1
    epochs = {"mae": 800, "convmae": 1600, "mixmim": 600, "mocov3": 300}
    assert pretraining.epochs == epochs[method] and pretraining.weight_decay == (0.1 if method == "mocov3" else 0.05)
    decay = {"mae": 0.65, "convmae": 0.65, "mixmim": 0.7, "mocov3": 1.0}[method]
    assert finetuning.layer_decay == config.ssl_method.finetuning_layer_decay == decay
    assert scaled_lr(finetuning.base_lr, finetuning.batch_size) == pytest.approx(1e-3 if method == "mocov3" else 2e-3)
    assert config.ssl_method.finetuning_pool == ("token" if method == "mocov3" else "avg")
    assert config.ssl_method.finetuning_head_std == (None if method == "mocov3" else 2e-5)
    assert config.ssl_method.betas == ([0.9, 0.999] if method == "mocov3" else [0.9, 0.95])
    assert config.ssl_method.decay_vectors is (method == "mocov3")
    batch = {"mae": 4096, "convmae": 3072, "mixmim": 2048, "mocov3": 4096}
    assert pretraining.batch_size == batch[method] and pretraining.min_lr == 0 and finetuning.batch_size == 1024
    assert finetuning.epochs == (150 if method == "mocov3" else 100) and finetuning.warmup_epochs == 5
    assert finetuning.weight_decay == 0.05 and finetuning.betas == [0.9, 0.999]
    assert finetuning.min_lr == (1e-5 if method == "mocov3" else 1e-6)
    assert (finetuning.mixup, finetuning.cutmix, finetuning.drop_path_rate) == (0.8, 1.0, 0.1)
    assert plain(finetuning.view) == {
        "_target_": "activessf.data.augmented_view.AugmentedView", "size": 224, "scale": [0.08, 1.0],
        "horizontal_flip": 0.5, "rand_augment": "rand-m9-mstd0.5-inc1", "erasing": 0.25,
    }  # fmt: skip
    assert config.loss.label_smoothing == 0.1
    assert config.ssl_method.method.get("norm_pix_loss", True) is True
    assert composed(f"ssl={method}").ssl_method.method.get("norm_pix_loss", False) is False


@pytest.mark.parametrize(
    ("setting", "others"),
    [
        ("ssl.init=mae_pretrain_vit_base_full.pth", ()),
        ("backbone.checkpoint=mae_pretrain_vit_base.pth", ()),
        ("recipe.pretraining.base_lr=1.5e-4", ()),
        ("recipe.pretraining.epochs=1600", ()),
        ("recipe.pretraining.steps=8000", ("recipe=small",)),
        ("ssl.method.mask_ratio=0.6", ()),
        ("ssl.method.mask_ratio=0.6", ("ssl=convmae",)),
        ("ssl.method.mask_ratio=0.6", ("ssl=mixmim",)),
        ("ssl.method.mixing_ratio=0.5", ("ssl=mixedae",)),
        ("recipe.pretraining.decoder.depth=12", ()),
    ],
)
def test_what_the_readme_says_of_small_sets_reaches_the_pretraining(setting: str, others: tuple[str, ...]) -> None:
    assert f"`{setting}`" in (CONF.parent / "README.md").read_text()
    key, _, value = setting.replace("ssl.", "ssl_method.", 1).partition("=")
    told, usual = composed(*others, setting), composed(*others)
    assert str(OmegaConf.select(told, key)) in (value, str(yaml.safe_load(value)))
    assert OmegaConf.select(usual, key) != OmegaConf.select(told, key)
    if key.startswith("recipe.pretraining.decoder."):
        assert told.ssl_method.method.decoder.depth == int(value) != usual.ssl_method.method.decoder.depth


def test_the_paper_regions_have_the_numbers_of_section_ii_b() -> None:
    regions = plain(composed().regions)
    numbers = {
        "blur_kernel": 3, "blur_sigma": 1.5, "num_colours": 20, "merged_colours": 10, "min_size": 70,
        "min_fill_rate": 0.7, "closing": 0, "fill_holes": False, "max_size": None,
    }  # fmt: skip
    assert {name: regions[name] for name in numbers} == numbers
    assert regions["stain_ranges"] == [
        {"name": "purple", "hue": [30, 140], "saturation": [100, 255], "value": [0, 255]},
        {"name": "deep_blue", "hue": [95, 105], "saturation": [150, 255], "value": [50, 255]},
    ]


def test_active_sample_selection_has_the_numbers_of_algorithm_1() -> None:
    selection = composed().selection
    assert (selection.name, selection.alpha, selection.bounds, selection.assignment, selection.prototypes) == (
        "activessf", 0.5, "cluster", "nearest", "kmeans",
    )  # fmt: skip
    assert (selection.lower, selection.upper) == (17 - 2, 17 + 2)  # III.B
    assert selection.num_prototypes is None


def test_the_paper_has_eleven_subtypes_of_which_two_are_rare() -> None:
    data = composed("data=megakaryocyte").data
    assert len(data.classes) == 11 and set(data.rare) == {"CA-MK", "HL-MK"} and list(data.common) == ["G-MK"]


# Experiments


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("resnet50", ("none", None, "resnet50", None)),
        ("vit", ("none", None, "vit_base", None)),
        ("mae", ("mae", "none", "vit_base", None)),
        ("mae_crf", ("mae", "crf", "vit_base", None)),
        ("mae_random", ("mae", "random", "vit_base", 1.0)),
        ("mae_activessf", ("mae", "activessf", "vit_base", 1.0)),
        ("mocov3", ("mocov3", "none", "vit_base", None)),
        ("mocov3_activessf", ("mocov3", "activessf", "vit_base", 1.0)),
        ("convmae", ("convmae", "none", "convvit_base", None)),
        ("convmae_activessf", ("convmae", "activessf", "convvit_base", 1.0)),
        ("mixmim", ("mixmim", "none", "mixmim_base", None)),
        ("mixmim_activessf", ("mixmim", "activessf", "mixmim_base", 1.0)),
    ],
)
def test_a_row_is_what_its_comment_says(row: str, expected: tuple[Any, ...]) -> None:
    config = composed(f"experiment/row={row}")
    method, selection, backbone, alpha = expected
    assert config.ssl_method.name == method and config.backbone.name == backbone
    assert selection is None or config.selection.name == selection
    if alpha is not None:
        assert config.selection.get("like", config.selection).alpha == alpha
    changed = composed(f"experiment/row={row}", "recipe=quick", "fold=3")
    assert changed.fold.index == 3 and changed.recipe.name == "quick"
    assert changed.backbone.name == backbone.replace("base", "mini").replace("resnet50", "resnet18")


def test_a_row_may_be_changed_on_the_command_line() -> None:
    config = composed("experiment/row=mae_activessf", "selection.alpha=2", "selection.bounds=quantile")
    assert config.selection.alpha == 2 and config.selection.bounds == "quantile"


@pytest.mark.parametrize("experiment", options("experiment"))
def test_an_experiment_sweeps_over_rows_that_are_there_and_five_folds(experiment: str) -> None:
    config = compose("config", canonical([f"experiment={experiment}"]), return_hydra_config=True)
    params = {key: str(value).split(",") for key, value in config.hydra.sweeper.params.items()}
    assert params.pop("fold") == [f"'{fold}'" for fold in range(5)]
    ((group, names),) = params.items()
    assert set(names) <= set(options(group)) and len(set(names)) == len(names) > 1
    composed(f"experiment={experiment}", f"{group}={names[-1]}", "fold=4")


def test_the_ablation_has_the_rows_of_table_iii_and_the_control() -> None:
    config = compose("config", ["experiment=ablation"], return_hydra_config=True)
    assert str(config.hydra.sweeper.params["experiment/row"]) == "vit,mae,mae_crf,mae_random,mae_activessf"


def test_the_demo_experiment_needs_neither_gpu_nor_data_nor_hub() -> None:
    config = composed("experiment=demo")
    assert (config.data.name, config.recipe.name, config.ssl_method.name) == ("demo", "quick", "mae")
    assert config.backbone.name == "vit_mini" and config.selection.features.packaged is True


# Struct mode


@pytest.mark.parametrize("override", ["selection.alpah=1", "recipe.epochs=3", "sead=1", "data.rooot=x", "fold.idnex=1"])
def test_a_misspelt_key_is_refused(override: str) -> None:
    with pytest.raises(ConfigCompositionException, match=override.split("=")[0].split(".")[0]):
        composed(override)


@pytest.mark.parametrize("override", ["ssl=nope", "selection.features=nope", "data=nope", "fold=5", "recipe=papre"])
def test_an_option_that_there_is_not_is_refused(override: str) -> None:
    with pytest.raises(Exception, match="Could not find") as caught:
        composed(override)
    assert caught.type.__module__ == "hydra.errors"


def test_all_that_is_on_or_off_in_the_configuration_is_checked() -> None:
    checked_elsewhere = {"_partial_", "fill_holes", "split_touching"}  # Hydra's own; those of stage 1's filter
    files = [flat(plain(OmegaConf.load(path), resolve=False)) for path in CONF.rglob("*.yaml")]
    switches = {name.rpartition(".")[2] for file in files for name, value in file.items() if isinstance(value, bool)}
    assert switches - checked_elsewhere == set(_SWITCHES)


def test_outputs_go_below_the_repository_unless_told_otherwise(composing: Path) -> None:
    assert composed().paths.output_dir == f"{composing}/outputs"
    config = compose("config", ["paths.output_dir=/elsewhere"], return_hydra_config=True)
    assert str(config.hydra.run.dir).startswith("/elsewhere/jobs/") and str(config.hydra.run.dir).endswith("_1234")
