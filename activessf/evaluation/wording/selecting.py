"""Stages 1 and 2 in words: how cell regions were found, and which of them pretraining saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from activessf.evaluation.runs import Run
from activessf.evaluation.wording.sentences import Settings, counted, duration, filled, joined, listed, shown, spanned

_NORMALISATIONS = {
    "minmax": "Each slide was stretched to the full range in every colour channel (min-max)",
    "gray_world": "Each slide's colours were balanced on the grey-world assumption",
    "reinhard": "Each slide's colours were matched to a reference in LAB (Reinhard)",
    "none": "Slides were not normalised",
}
_FOUND_BY = {
    "random": "drawn at random",
    "nearest": "those nearest to any prototype",
    "global_threshold": "those within one threshold for all prototypes, in units of each one's spread",
    "class_balanced": "an equal quota for every prototype, nearest first",
    "kcenter": "chosen by greedy k-center from the labeled cells on (arXiv 1708.00489)",
    "typiclust": "chosen by TypiClust (arXiv 2202.02794)",
    "cluster_balanced": "a balanced sample from hierarchical K-means (arXiv 2405.15613)",
}


def regions_paragraph(run: Run, summary: Mapping[str, Any]) -> str:
    """Stage 1 of a run; empty where it had no part.

    Args:
        run: The run.
        summary: What stage 1 counted, as far as it is known.
    """
    settings = run.settings
    if "regions.min_size" not in settings or run.method == "none":
        return ""
    smoothing = filled(
        "smoothed by a Gaussian filter of {regions.blur_kernel} pixels (sigma {regions.blur_sigma}) and reduced to "
        "{regions.num_colours} colours by K-means, which Ward's method merged to {regions.merged_colours}.",
        settings,
    )
    start = _NORMALISATIONS.get(str(settings.get("regions.normalisation")), "")
    return joined(
        joined(f"{start}," if start and smoothing else start, smoothing),
        _stain(settings),
        _kept(settings),
        _counts(summary),
    )


def _stain(settings: Settings) -> str:
    ranges = settings.get("regions.stain_ranges")
    if not isinstance(ranges, list) or not all(isinstance(item, dict) for item in ranges):
        return ""
    words = [
        f"{item.get('name', 'unnamed')} ("
        + ", ".join(
            f"{part} {'-'.join(map(str, item[part]))}" for part in ("hue", "saturation", "value") if part in item
        )
        + ")"
        for item in ranges
    ]
    which = "any of the ranges " if len(words) > 1 else "the range "
    return f"Pixels within {which}{listed(words)} count as stained (HSV as in OpenCV, hue in half degrees)."


def _kept(settings: Settings) -> str:
    closed = (
        filled("gaps were closed over {regions.closing} pixels", settings) if settings.get("regions.closing") else ""
    )
    holes = "holes were filled" if settings.get("regions.fill_holes") else ""
    before = listed(filter(None, [closed, holes]))
    kept = filled("Regions whose box is at least {regions.min_size} pixels wide and high", settings)
    largest = filled(", at most {regions.max_size}", settings)
    filling = filled(" and filled to {regions.min_fill_rate%} % or more were kept.", settings)
    return joined(
        f"In the mask {before}." if before else "",
        f"{kept}{largest}{filling}" if filling else "",
        "Touching cells were split." if settings.get("regions.split_touching") else "",
        filled("Boxes were widened by {regions.margin} pixels.", settings) if settings.get("regions.margin") else "",
        filled("Squares of {crop_size} pixels round them were cut out.", settings) if settings.get("crop_size") else "",
        filled("Sizes are meant for {regions.resolution} micrometres per pixel.", settings),
    )


def _counts(summary: Mapping[str, Any]) -> str:
    numbers = [summary.get(key) for key in ("images", "images_with_region", "regions", "seconds")]
    if not all(isinstance(number, int | float) for number in numbers):
        return ""
    images, with_region, regions, seconds = (float(number) for number in numbers)  # type: ignore[arg-type]
    return (
        f"This gave {counted(regions, 'region')} in {with_region:,.0f} of {counted(images, 'slide')}, "
        f"in {duration(seconds)}."
    )


def selection_paragraph(run: Run) -> str:
    """Stage 2 of a run: what pretraining saw; empty for a supervised run."""
    if run.method == "none":
        return ""
    return joined(_chosen(run), _amount(run))


def _chosen(run: Run) -> str:
    settings, name, scope = run.settings, run.selection, _scope(run)
    if name == "none":
        return (
            "Pretraining was on the whole unlabeled slides, as random resized crops; none with a cell of the tested "
            "fold."
        )
    if name == "crf":
        return joined("Pretraining was on all regions.", scope)
    if name == "activessf":
        return joined(_features(settings), _thresholds(settings, "selection"), scope)
    if name == "activessf_plus":
        return joined(_features(settings), _thresholds(settings, "selection.base"), _plus(settings), scope)
    return joined(_features(settings), _at_budget(settings, name), scope)


def _scope(run: Run) -> str:
    if run.saw_test_fold:
        return "Labels of all cells, those of the tested fold among them, had a part in it (scope=all)."
    recorded = {result.details.get("scope") for result in run.folds.values()} | {run.settings.get("selection.scope")}
    if "train_fold" not in recorded:
        return ""
    return "Of the tested fold no label had a part in it, and no image with a cell of it was among the candidates."


def _amount(run: Run) -> str:
    images, steps = (_each_fold(run, key) for key in ("pretraining_images", "pretraining_steps"))
    if not images:
        return ""
    taken = f", in {spanned(steps)} optimiser steps" if steps else ""
    return f"Pretraining saw {spanned(images)} images a fold{taken}."


def _each_fold(run: Run, key: str) -> list[float]:
    found = (result.details.get(key) for result in run.folds.values())
    return [float(value) for value in found if isinstance(value, int | float)]


def _features(settings: Settings) -> str:
    network = filled("features of {selection.features.model_name}", settings) or (
        "features of a network that had learned from the data (selection.features)"
        if settings.get("selection.features.run") or settings.get("selection.features.checkpoint")
        else ""
    )
    if not network:
        return ""
    size = filled(" at {selection.features.image_size} pixels", settings)
    transform = settings.get("selection.features.transform")
    after = f", transformed by {shown(transform)}," if transform not in (None, "none") else ""
    described = f"{network}{size}, pooled{after}"
    return f"Labeled cells and regions were described by {described}, and compared by Euclidean distance."


def _thresholds(settings: Settings, prefix: str) -> str:
    """Prototypes and Eq. 8 and 9, from the settings of an ActiveSSF below a prefix."""
    own = {key.removeprefix(f"{prefix}."): value for key, value in settings.items() if key.startswith(f"{prefix}.")}
    prototypes = {
        "kmeans": filled("K-means with {num_prototypes} clusters over the labeled cells gave the prototypes.", own)
        or "K-means with one cluster a class over the labeled cells gave the prototypes.",
        "per_class": filled("K-means with K = {prototypes_per_class} in every class gave the prototypes.", own),
    }.get(str(own.get("prototypes")), "")
    kept = {
        "nearest": "A region was kept if it lay within the threshold of its nearest prototype (Eq. 7 and 9)",
        "any": "A region was kept if it lay within the threshold of any prototype (Algorithm 1)",
    }.get(str(own.get("assignment")), "")
    exponent = filled("by Eq. 8 with alpha = {alpha}", own)
    bounds = {
        "cluster": "LB and UB the smallest and largest distance of the prototype's own labeled cells",
        "fixed": filled("LB = {lower} and UB = {upper} for all", own),
        "quantile": filled(
            "LB and UB the quantiles {lower_quantile} and {upper_quantile} of the distances of the prototype's own "
            "labeled cells",
            own,
        ),
    }.get(str(own.get("bounds")), "")
    rule = ", ".join(filter(None, [kept, exponent, bounds]))
    return joined(prototypes, f"{rule}." if kept else "")


def _plus(settings: Settings) -> str:
    target = settings.get("selection.target")
    return joined(
        filled(
            "Regions farther from every prototype than {selection.abstain%} % of the labeled cells would be were left "
            "out.",
            settings,
        ),
        filled(
            "Of regions nearer together than {selection.deduplicate} times the typical distance of labeled cells one "
            "was left.",
            settings,
        ),
        f"The mix of subtypes aimed at was {shown(target)}." if target is not None else "",
        filled("{selection.budget} regions were kept.", settings),
    )


def _at_budget(settings: Settings, name: str) -> str:
    how = _FOUND_BY.get(name, f"chosen by the selection {name}")
    if settings.get("selection.budget") is not None:
        return filled("{selection.budget} regions were kept, ", settings) + f"{how}."
    like = _thresholds(settings, "selection.like")
    return joined(
        f"As many regions as ActiveSSF keeps were kept, {how}.", f"ActiveSSF's own rule: {like}" if like else ""
    )
