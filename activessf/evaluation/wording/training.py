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
_LOSSES = {
    "cross_entropy": "cross-entropy",
    "weighted": "class-weighted cross-entropy",
    "focal": "the focal loss",
    "balanced_softmax": "balanced softmax",
    "logit_adjusted": "logit-adjusted cross-entropy",
    "ldam": "the LDAM loss",
}
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
    sampler = run.choices.get("sampler", "natural")
    drawn = "" if sampler == "natural" else f", cells drawn by the sampler {sampler}"
    return f" by {_LOSSES.get(name, name)}{smoothing}{drawn}"


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
    words = ", ".join(filter(None, [length, batch, rate, schedule, decay, by_layer]))
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
            jitter = (
                ["changed in colour"] if settings.get("ssl_method.view.jitter.probability") and "crop" in place else []
            )
            return ", ".join([crop, *flips, *turns, *jitter]) + "."
    return ""


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
