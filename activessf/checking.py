"""Checks of the settings that no constructor checks."""

from __future__ import annotations

import math
from typing import Any

from omegaconf import DictConfig

from activessf.configuration import flat, is_supervised, plain
from activessf.data.class_weights import check_one_of
from activessf.errors import InputError

_MOST_FOLDS = 5  # the config group `fold` has the options 0 to 4
_MOST_DEVICES = 10_000

# Settings that are on or off, wherever they stand: a string such as "off" would count as on. Those of stage 1 are
# checked by its filter, for single slides too.
_SWITCHES = (
    *("strict", "compile", "dry_run", "join_duplicates", "measure", "probe", "packaged", "pretrained", "quarter_turns"),
    *("norm_pix_loss", "decay_vectors", "stop_grad_conv1", "counts_self", "class_tokens_compete"),
    *("normalised_classifier", "enable_model_summary"),
)
# Of the methods: their constructors know the ranges.
_NUMBERS = ("mask_ratio", "mixing_ratio", "momentum", "temperature", "contrast.weight", "contrast.temperature")
_WHOLE_NUMBERS = {"plain_blocks": 0, "hidden_dim": 1, "output_dim": 1}
_WHOLE_NUMBERS_OR_NULL = {"contrast.block": 0, "contrast.projector_dim": 1}


def check_settings(config: DictConfig) -> None:
    """Check the settings that no constructor checks, before anything runs.

    Raises:
        InputError: Names the setting, the value found and what it may be.
    """
    folds, fold = config.data.num_folds, config.fold.index
    _require(_is_integer(folds) and 2 <= folds <= _MOST_FOLDS, "data.num_folds", folds, f"be 2 to {_MOST_FOLDS}")
    if fold >= folds:
        raise InputError(f"fold={fold} is none of the {folds} folds (data.num_folds).")
    largest = config.data.largest_joined_group
    _require(_is_number(largest) and 0 < largest <= 1, "data.largest_joined_group", largest, "lie above 0 and up to 1")
    _require(_is_integer(config.seed) and 0 <= config.seed < 2**32, "seed", config.seed, "be a whole number, 0 or more")
    workers, cache = config.num_workers, config.cache_gib
    _require(workers is None or _is_integer(workers) and workers >= 0, "num_workers", workers, "be null, 0 or more")
    _require(_is_number(cache) and cache >= 0, "cache_gib", cache, "be 0 or more")
    minutes = config.checkpoint_minutes
    fits = minutes is None or _is_number(minutes) and minutes >= 0
    _require(fits, "checkpoint_minutes", minutes, "be null or a number of minutes, 0 or more")
    shard, num_shards = config.shard, config.num_shards
    _require(_is_integer(num_shards) and num_shards >= 1, "num_shards", num_shards, "be 1 or more")
    side = config.crop_size
    fits = side is None or _is_integer(side) and side >= 1
    _require(fits, "crop_size", side, "be null, for a region's own box, or a whole number of pixels")
    _check_plan(config.plan)
    _check_quality(config.quality)
    _check_audit(config.audit)
    _check_watch(config.watch)
    _check_calibration(config.calibration)
    fits = shard is None or _is_integer(shard) and 0 <= shard < num_shards
    _require(fits, "shard", shard, f"be null or 0 to {num_shards - 1} (num_shards - 1)")
    size, patch = config.recipe.image_size, config.recipe.patch_size
    _require(_is_integer(size) and size >= 1, "recipe.image_size", size, "be a whole number of pixels")
    _require(_is_integer(patch) and patch >= 1, "recipe.patch_size", patch, "be a whole number of pixels")
    if size % patch:
        raise InputError(f"recipe.image_size={size} must be a multiple of recipe.patch_size={patch}.")
    _check_image_size(config.backbone, size, patch)
    check_one_of("sampler", config.sampler.exponent, config.sampler.beta, highest=1.0)
    epochs = config.recipe.finetuning.retrain_head
    fits = epochs is None or _is_integer(epochs) and epochs >= 1
    _require(fits, "recipe.finetuning.retrain_head", epochs, "be null or a whole number of epochs")
    for stage in ("pretraining", "finetuning"):
        _check_training(f"recipe.{stage}", config.recipe[stage])
    _check_trainer(config.trainer)
    _check_finetuning(config.recipe.finetuning, config.ssl_method.finetuning_pool)
    std = config.ssl_method.finetuning_head_std
    fits = std is None or _is_number(std) and std > 0
    _require(fits, "ssl_method.finetuning_head_std", std, "be null or a number above 0")
    for key in ("layer_decay", "finetuning_layer_decay"):
        decay = config.ssl_method[key]
        _require(decay is None or _is_number(decay) and 0 < decay <= 1, f"ssl_method.{key}", decay, "lie in (0, 1]")
    if not is_supervised(config):
        _check_betas("ssl_method.betas", config.ssl_method.betas)
        _check_method(flat(plain(config.ssl_method.method)))
    _check_values(config)


def _check_image_size(backbone: DictConfig, size: int, patch: int) -> None:
    """Check that a backbone is made for the images, and they are of whole patches where it has its own."""
    made_for = backbone.get("img_size", size)
    if made_for != size:
        raise InputError(
            f"backbone.img_size={made_for} must be recipe.image_size={size}, which it follows unless it is set; all "
            "images are squares. Set recipe.image_size alone."
        )
    own = backbone.get("patch_size")
    if own is not None and size % own:
        step = math.lcm(own, patch)
        raise InputError(
            f"recipe.image_size={size} is no multiple of {own}, the patch size of backbone={backbone.name}; set "
            f"recipe.image_size={max(1, round(size / step)) * step}."
        )


def _check_plan(plan: DictConfig) -> None:
    devices, images = plain(plan.devices), plan.images
    fits = isinstance(devices, list) and all(_is_integer(number) and 1 <= number <= _MOST_DEVICES for number in devices)
    _require(fits, "plan.devices", devices, f"be a list of numbers of devices, 1 to {_MOST_DEVICES}, e.g. [1, 8]")
    fits = images is None or _is_integer(images) and images >= 1
    _require(fits, "plan.images", images, "be null or a whole number, 1 or more")


def _check_quality(quality: DictConfig) -> None:
    for key, least in (("num_fields", 0), ("num_crops", 1)):
        value = quality[key]
        _require(_is_integer(value) and value >= least, f"quality.{key}", value, f"be a whole number, {least} or more")
    slides = plain(quality.slides)
    named = isinstance(slides, list) and all(isinstance(slide, str) for slide in slides)
    _require(named, "quality.slides", slides, "be a list of paths, e.g. [slides/a.png]")


def _check_audit(audit: DictConfig) -> None:
    _require(audit.page in ("auto", True, False), "audit.page", audit.page, "be auto, true or false")
    _require(audit.planted in ("regions", "boxes", None), "audit.planted", audit.planted, "be regions, boxes or null")
    for key, least in (("num_crops", 2), ("map_points", 10)):
        value = audit[key]
        _require(_is_integer(value) and value >= least, f"audit.{key}", value, f"be a whole number, {least} or more")


def _check_watch(watch: DictConfig) -> None:
    every, steps, share = watch.every, watch.steps, watch.held_out
    _require(_is_number(every) and every >= 0, "watch.every", every, "be a number of epochs, 0 or more")
    fits = steps is None or _is_integer(steps) and steps >= 1
    _require(fits, "watch.steps", steps, "be null or a whole number, 1 or more")
    for key, least in (("num_images", 0), ("probe_cells", 2), ("knn_neighbours", 1)):
        value = watch[key]
        _require(_is_integer(value) and value >= least, f"watch.{key}", value, f"be a whole number, {least} or more")
    _require(_is_number(share) and 0 < share <= 0.5, "watch.held_out", share, "lie above 0 and up to 0.5")
    temperature, lowest = watch.knn_temperature, watch.collapse_below
    _require(_is_number(temperature) and temperature > 0, "watch.knn_temperature", temperature, "be a number above 0")
    _require(_is_number(lowest) and 0 <= lowest <= 1, "watch.collapse_below", lowest, "lie in 0 to 1")


def _check_calibration(calibration: DictConfig) -> None:
    fields, seed = calibration.num_fields, calibration.seed
    _require(_is_integer(fields) and fields >= 1, "calibration.num_fields", fields, "be a whole number, 1 or more")
    _require(_is_integer(seed) and 0 <= seed < 2**32, "calibration.seed", seed, "be a whole number, 0 or more")
    for key in ("check_share", "apart"):
        value = calibration[key]
        _require(_is_number(value) and value > 0, f"calibration.{key}", value, "be a number above 0")


def _check_training(name: str, recipe: DictConfig) -> None:
    batch, rate = recipe.batch_size, recipe.base_lr
    _require(_is_integer(batch) and batch >= 1, f"{name}.batch_size", batch, "be a whole number, 1 or more")
    _require(_is_number(rate) and rate > 0, f"{name}.base_lr", rate, "be a number above 0")
    for key in ("epochs", "warmup_epochs"):
        value = recipe[key]
        _require(value is None or _is_number(value) and value >= 0, f"{name}.{key}", value, "be a number, 0 or more")
    for key in ("steps", "warmup_steps"):
        value = recipe[key]
        fits = value is None or _is_integer(value) and value >= 0
        _require(fits, f"{name}.{key}", value, "be null or a whole number, 0 or more")
    for key in ("min_lr", "weight_decay"):
        value = recipe[key]
        _require(_is_number(value) and value >= 0, f"{name}.{key}", value, "be a number, 0 or more")


def _check_betas(name: str, betas: Any) -> None:
    values = plain(betas)
    fits = isinstance(values, list) and len(values) == 2 and all(_is_number(beta) and 0 <= beta < 1 for beta in values)
    _require(fits, name, values, "be two numbers, 0 to below 1, e.g. [0.9, 0.999]")


def _check_trainer(trainer: DictConfig) -> None:
    batches, precision = trainer.get("accumulate_grad_batches", 1), str(trainer.get("precision"))
    fits = _is_integer(batches) and batches >= 1
    _require(fits, "trainer.accumulate_grad_batches", batches, "be a whole number, 1 or more")
    if precision.endswith("-true") and precision not in ("32-true", "64-true"):
        raise InputError(
            f"trainer.precision={precision} keeps the weights themselves in half precision, where small steps, such as "
            "those of MoCo v3's slow copies, are rounded away; use bf16-mixed or 32-true."
        )


def _check_method(settings: dict[str, Any]) -> None:
    for key, value in settings.items():
        name = f"ssl_method.method.{key}"
        if key in _NUMBERS:
            _require(_is_number(value), name, value, "be a number")
        if key in _WHOLE_NUMBERS:
            least = _WHOLE_NUMBERS[key]
            _require(_is_integer(value) and value >= least, name, value, f"be a whole number, {least} or more")
        if key in _WHOLE_NUMBERS_OR_NULL:
            least = _WHOLE_NUMBERS_OR_NULL[key]
            fits = value is None or _is_integer(value) and value >= least
            _require(fits, name, value, f"be null or a whole number, {least} or more")


def _check_values(config: DictConfig) -> None:
    """Check what holds of any setting of its kind: that switches are true or false, and numbers finite."""
    settings = plain(config)
    # The recipe first: what others take over from it is told by its name there.
    for name, value in flat({"recipe": settings["recipe"], **settings}).items():
        if name.rpartition(".")[2] in _SWITCHES:
            unused = value is None and is_supervised(config)  # a baseline has no settings of a pretraining
            _require(unused or isinstance(value, bool), name, value, "be true or false")
        _require(_is_finite(value), name, value, "be finite")


def _check_finetuning(recipe: DictConfig, pool: Any) -> None:
    name = "recipe.finetuning"
    _check_betas(f"{name}.betas", recipe.betas)
    _require(pool in ("avg", "token"), "ssl_method.finetuning_pool", pool, "be avg or token")
    for key in ("mixup", "cutmix"):
        value = recipe[key]
        _require(_is_number(value) and value >= 0, f"{name}.{key}", value, "be a number, 0 or more (0 = off)")
    rate, decay, share = recipe.drop_path_rate, recipe.ema_decay, recipe.validation_share
    _require(_is_number(rate) and 0 <= rate < 1, f"{name}.drop_path_rate", rate, "lie in 0 to 1, below 1")
    fits = decay is None or _is_number(decay) and 0 < decay < 1
    _require(fits, f"{name}.ema_decay", decay, "be null or lie between 0 and 1, e.g. 0.999")
    _require(recipe.checkpoint in ("last", "best"), f"{name}.checkpoint", recipe.checkpoint, "be last or best")
    _require(_is_number(share) and 0 < share <= 0.5, f"{name}.validation_share", share, "lie above 0 and up to 0.5")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_finite(value: Any) -> bool:
    """Whether a value, or each of a list, is no float that is infinite or no number."""
    if isinstance(value, list):
        return all(_is_finite(part) for part in value)
    return not isinstance(value, float) or math.isfinite(value)


def _require(holds: bool, name: str, value: Any, must: str) -> None:
    if not holds:
        raise InputError(f"{name}={value} must {must}.")
