"""Stages 3 and 4 in words: pretraining and fine-tuning."""

from __future__ import annotations

from collections.abc import Iterable

from activessf.evaluation.runs import Run
from activessf.evaluation.wording.sentences import Settings, filled, first_filled, joined, listed, shown

_METHODS = {
    "mae": "a masked autoencoder (MAE, arXiv 2111.06377)",
    "convmae": "ConvMAE (arXiv 2205.03892)",
    "mixmim": "MixMIM (arXiv 2205.13137)",
    "mixedae": "MixedAE (arXiv 2303.17152)",
    "mocov3": "MoCo v3 (arXiv 2104.02057)",
}
# Of each the first that has its settings.
_LOSSES = {
    "cross_entropy": ("cross-entropy",),
    "weighted": (
        "weighted cross-entropy (a cell of a class of n training cells counts n^-{loss.exponent})",
        "weighted cross-entropy (a cell counts 1 over the effective number of its class's training cells, beta "
        "{loss.beta}, arXiv 1901.05555)",
        "class-weighted cross-entropy",
    ),
    "focal": ("the focal loss (gamma {loss.gamma}, arXiv 1708.02002)", "the focal loss"),
    "balanced_softmax": ("balanced softmax (arXiv 2007.10740)",),
    "logit_adjusted": (
        "logit-adjusted cross-entropy (tau {loss.tau}, arXiv 2007.07314)",
        "logit-adjusted cross-entropy",
    ),
    "ldam": (
        "the LDAM loss (largest margin {loss.max_margin}, scale {loss.scale}, arXiv 1906.07413)",
        "the LDAM loss",
    ),
}
_REWEIGHTED = (
    "After {loss.reweight_from%} % of the training a cell counted 1 over the effective number of its class's training "
    "cells (beta {loss.beta}, arXiv 1901.05555)."
)
_SAMPLERS = (
    "a class of n training cells in proportion to n^{sampler.exponent} (arXiv 1910.09217)",
    "each in proportion to 1 over the effective number of its class's training cells (beta {sampler.beta}, arXiv "
    "1901.05555)",
)
_EPOCH_RULES = {
    "last": "The weights of the last step were tested.",
    "best": "The weights of the best epoch on an inner validation part of the training folds were tested.",
}


_EXTRAS = {
    "recipe.finetuning.mixup": "Images were mixed by Mixup (alpha {recipe.finetuning.mixup}).",
    "recipe.finetuning.cutmix": "Images were mixed by CutMix (alpha {recipe.finetuning.cutmix}).",
    "recipe.finetuning.ema_decay": "A running average of the weights (decay {recipe.finetuning.ema_decay}) was tested.",
}
_RETRAINED = (
    "Of these weights all but the classifier were kept, and a fresh one was trained alone by cross-entropy for "
    "{recipe.finetuning.retrain_head} epochs, the classes drawn equally often (cRT, arXiv 1910.09217)."
)
_SAID_OF_BACKBONES = {f"backbone.{key}" for key in ("patch_size", "img_size", "pretrained", "_partial_")}


def pretraining_paragraph(run: Run) -> str:
    """Stage 3 of a run."""
    settings = run.settings
    if run.method == "none":
        return "There was no pretraining: the network learned from the labeled cells alone."
    method = _METHODS.get(run.method, run.method)
    masked = filled(", {ssl_method.method.mask_ratio%} % of the patches hidden", settings)
    target = ", pixels normalised by patch" if settings.get("ssl_method.method.norm_pix_loss") else ""
    return joined(
        f"{_backbone(run)} was pretrained without labels as {method}{masked}{target}.",
        _optimisation(settings, "recipe.pretraining", "ssl_method.betas", "ssl_method.layer_decay"),
        _views(settings, ("ssl_method.view", "ssl_method.view.crop")),
        filled("It started from the weights of a file (SHA-256 {ssl_method.init}...).", settings)
        or filled("Its encoder started from the weights of a file (SHA-256 {backbone.checkpoint}...).", settings),
    )


def finetuning_paragraph(run: Run) -> str:
    """Stage 4 of a run: how the labeled cells were learned."""
    settings = run.settings
    evaluation = str(settings.get("evaluation.name") or "finetune")
    if evaluation != "finetune":
        return joined(_frozen(run, evaluation), _starting_weights(run) if run.method == "none" else "")
    what = f"{_backbone(run)} was trained" if run.method == "none" else "The pretrained encoder was fine-tuned"
    return joined(
        f"{what} on the labeled cells of the training folds{_loss(run)}{_pooled(settings)}.",
        _optimisation(settings, "recipe.finetuning", "recipe.finetuning.betas", "ssl_method.finetuning_layer_decay"),
        _loss_details(run),
        filled("Drop path was {recipe.finetuning.drop_path_rate}.", settings),
        _views(settings, ("recipe.finetuning.view",)),
        *(filled(text, settings) for key, text in _EXTRAS.items() if settings.get(key)),
        _tested_weights(run),
        filled(_RETRAINED, settings) if settings.get("recipe.finetuning.retrain_head") else "",
        _starting_weights(run) if run.method == "none" else "",
    )


def _frozen(run: Run, evaluation: str) -> str:
    settings = run.settings
    encoder = f"The encoder of {_backbone(run)}" if run.method == "none" else "The encoder"
    features = f"{encoder} stayed as it was; its features of the labeled cells of the training folds{_pooled(settings)}"
    classified = {
        "linear_probe": "were standardised, and logistic regression on them classified the tested ones"
        + filled(", C chosen on {evaluation.classifier.validation_share%} % of these cells held out", settings),
        "knn": filled("were standardised, and the {evaluation.classifier.neighbours} nearest by cosine voted", settings)
        + filled(" (temperature {evaluation.classifier.temperature})", settings),
    }
    return f"{features} {classified.get(evaluation) or f'were classified by {evaluation}'}."


def _pooled(settings: Settings) -> str:
    if "backbone.patch_size" not in settings:
        return ""
    pools = {"avg": ", from the mean of the patch tokens", "token": ", from the class token"}
    return pools.get(str(settings.get("ssl_method.finetuning_pool")), "")


def _backbone(run: Run) -> str:
    """The network by its name here, then what it is: timm's name, what differs from that, sizes."""
    settings = run.settings
    name = shown(settings.get("backbone.name") or run.choices.get("backbone") or "The network")
    model = settings.get("backbone.model_name")
    timm = f"timm's {shown(model)}" if model is not None and model != name else ""
    other = [
        f"{key.removeprefix('backbone.').replace('_', ' ')} {shown(value)}"
        for key, value in settings.items()
        if key.startswith("backbone.") and key not in _SAID_OF_BACKBONES and isinstance(value, int | float | list)
    ]
    size = filled("{recipe.image_size} x {recipe.image_size} pixels", settings)
    patches = filled("patches of {backbone.patch_size}", settings)
    what = ", ".join(filter(None, [timm, *other, size, patches]))
    return f"{name} ({what})" if what else name


def _loss(run: Run) -> str:
    name, settings = run.choices.get("loss", ""), run.settings
    if not name:
        return ""
    smoothing = (
        filled(" with label smoothing {loss.label_smoothing}", settings) if settings.get("loss.label_smoothing") else ""
    )
    loss = first_filled(_LOSSES.get(name, ()), settings) or name
    return f" by {loss}{smoothing}"


def _loss_details(run: Run) -> str:
    """What a loss does besides, and how cells were drawn."""
    settings, ldam = run.settings, run.choices.get("loss") == "ldam"
    normalised = "The classifier's logits were scaled cosines of its features and weights (both normalised)."
    reweighted = ldam and settings.get("loss.reweight_from") not in (None, 1, 1.0)
    return joined(
        normalised if ldam and settings.get("loss.normalised_classifier") else "",
        filled(_REWEIGHTED, settings) if reweighted else "",
        _drawn(run),
    )


def _drawn(run: Run) -> str:
    sampler = run.choices.get("sampler", "natural")
    if sampler == "natural":
        return ""
    if run.settings.get("sampler.exponent") == 0:
        how = "all classes equally often"
    else:
        how = first_filled(_SAMPLERS, run.settings) or f"by the sampler {sampler}"
    return f"Training cells were drawn with replacement, {how}."


def _optimisation(settings: Settings, recipe: str, betas: str, layer_decay: str) -> str:
    """How a stage was optimised, from its part of the recipe."""
    length = first_filled((f"{{{recipe}.steps}} steps", f"{{{recipe}.epochs}} epochs"), settings)
    batch = filled(f"batches of {{{recipe}.batch_size}}", settings)
    rate = filled(f"learning rate {{{recipe}.base_lr}} x batch / 256", settings)
    warmup = first_filled((f"{{{recipe}.warmup_steps}} steps", f"{{{recipe}.warmup_epochs}} epochs"), settings)
    lowest = filled(f"{{{recipe}.min_lr}}", settings)
    schedule = f"cosine decay to {lowest}" if lowest else ""
    schedule += f" after a warm-up of {warmup}" if schedule and warmup else ""
    decay = filled(f"weight decay {{{recipe}.weight_decay}}", settings)
    momenta = filled(f"AdamW (betas {{{betas}}})", settings) or "AdamW"
    layers = settings.get(layer_decay)
    by_layer = f"layer-wise decay of the learning rate {shown(layers)}" if layers not in (None, 1, 1.0) else ""
    precision = settings.get("trainer.precision")
    reduced = f"precision {shown(precision)}" if precision not in (None, "32-true") else ""
    words = ", ".join(filter(None, [length, batch, rate, schedule, decay, by_layer, reduced]))
    return f"Optimiser: {momenta}, {words}." if words else ""


def _views(settings: Settings, places: Iterable[str]) -> str:
    for place in places:
        crop = filled(f"Views were random crops of {{{place}.scale%}} % of the image's area", settings)
        if crop:
            flips = [
                word
                for key, word in (("horizontal_flip", "mirrored left-right"), ("vertical_flip", "mirrored top-bottom"))
                if settings.get(f"{place}.{key}")
            ]
            turns = ["turned by quarter turns"] if settings.get(f"{place}.quarter_turns") else []
            return ", ".join([crop, *flips, *turns, *_changes(settings, place)]) + "."
    return ""


def _changes(settings: Settings, place: str) -> list[str]:
    """What a view changes of the image besides its place, of those settings that are not 0."""
    of_pair = "ssl_method.view" if place == "ssl_method.view.crop" else place
    texts = {
        f"{place}.brightness": f"brightness changed by up to {{{place}.brightness%}} %",
        f"{place}.contrast": f"contrast changed by up to {{{place}.contrast%}} %",
        f"{of_pair}.jitter.probability": "changed in colour",
        f"{of_pair}.grey": "some made grey",
        f"{of_pair}.blur": "some blurred",
        f"{of_pair}.solarize": "some solarised",
        f"{place}.rand_augment": f"RandAugment ({{{place}.rand_augment}}, arXiv 1909.13719)",
        f"{place}.erasing": f"random erasing with probability {{{place}.erasing}} (arXiv 1708.04896)",
    }
    return [filled(text, settings) for key, text in texts.items() if settings.get(key)]


def _tested_weights(run: Run) -> str:
    settings = run.settings
    rule = str(settings.get("recipe.finetuning.checkpoint", "last"))
    text = _EPOCH_RULES.get(rule, f"The weights tested were chosen by the rule {rule}.")
    if rule != "best":
        return text
    found = [result.details.get("classification") or {} for result in run.folds.values()]
    epochs = [item["epoch"] for item in found if isinstance(item.get("epoch"), int | float)]
    return joined(
        text,
        filled("It was {recipe.finetuning.validation_share%} % of them.", settings),
        f"By fold, these were the epochs {listed(f'{epoch:g}' for epoch in epochs)}." if epochs else "",
    )


def _starting_weights(run: Run) -> str:
    if run.settings.get("backbone.pretrained"):
        return "It started from weights pretrained on ImageNet (timm)."
    return (
        filled("It started from the weights of a file (SHA-256 {backbone.checkpoint}...).", run.settings)
        or "It started from scratch."
    )
