"""The method section says what the settings say, and nothing else."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny import configure

from activessf.configuration import flat, plain
from activessf.evaluation.page.cells import pooled_predictions
from activessf.evaluation.runs import Run, collect_runs, union_of_classes
from activessf.evaluation.wording.method import method_section
from activessf.evaluation.wording.selecting import regions_paragraph, selection_paragraph
from activessf.evaluation.wording.training import finetuning_paragraph, pretraining_paragraph

Write = Callable[..., Path]
SMALL = {"G-MK": 60, "P-MK": 30, "HL-MK": 10}


@cache
def run_with(*overrides: str) -> Run:
    """A run as it would record the configuration that a command line gives."""
    config = configure(Path("nowhere"), "recipe=paper", *overrides)
    choices = {name: config[name].name for name in ("ssl_method", "selection", "backbone")}
    groups = {"loss": "cross_entropy", "sampler": "natural"}
    choices |= groups | {name: option for name, option in (item.split("=") for item in overrides) if name in groups}
    return Run("made", "made", choices, flat(plain(config)), 0, {})


def section(tmp_path: Path) -> dict[str, str]:
    runs, _ = collect_runs(tmp_path / "runs")
    cells, _ = pooled_predictions(runs, union_of_classes(runs))
    topics = method_section(runs, cells, 1000)
    return {
        topic: "\n".join(f"[{', '.join(item.runs)}] {item.text}" if item.runs else item.text for item in paragraphs)
        for topic, paragraphs in topics.items()
    }


def change(run: Path, changes: Mapping[str, Any]) -> None:
    for path in run.glob("fold_*/run.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_papers_recipe_is_told_with_the_papers_numbers() -> None:
    run = run_with("ssl=mae", "size=base", "selection=activessf", "selection/features=resnet50")
    told = pretraining_paragraph(run)
    for fact in (
        "vit_base (timm's vit_base_patch16_224, 224 x 224 pixels, patches of 16)",
        "layer-wise decay of the learning rate 0.75",
        "masked autoencoder (MAE, arXiv 2111.06377), 75 % of",
        "AdamW (betas 0.9 and 0.95)", "weight decay 0.05", "learning rate 0.001 x batch / 256", "mirrored left-right.",
        "cosine decay to 0", "crops of 20 to 100 %",
    ):  # fmt: skip
        assert fact in told, (fact, told)
    told = finetuning_paragraph(run)
    for fact in ("by cross-entropy with label smoothing 0.1", "Drop path was 0.1", "crops of 8 to 100 %", "last step"):
        assert fact in told, (fact, told)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["recipe.pretraining.steps=null", "recipe.pretraining.epochs=400"], "400 epochs, batches of"),
        (["recipe.pretraining.steps=77"], "77 steps, batches of"),
        (["recipe.pretraining.batch_size=48"], "batches of 48,"),
        (["recipe.pretraining.warmup_steps=9"], "after a warm-up of 9 steps"),
        (["ssl.layer_decay=0.5"], "layer-wise decay of the learning rate 0.5."),
        (["recipe.pretraining.norm_pix_loss=true"], "pixels normalised by patch"),
        (["recipe.pretraining.view.quarter_turns=true"], "turned by quarter turns"),
    ],
)
def test_pretraining_follows_its_settings(overrides: list[str], said: str) -> None:
    if "quarter_turns" in overrides[0]:
        overrides = ["+" + overrides[0]]
    assert said in pretraining_paragraph(run_with("ssl=mae", *overrides))
    assert said not in pretraining_paragraph(run_with("ssl=mae"))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["recipe.finetuning.pool=token"], ", from the class token."),
        (["recipe.finetuning.mixup=0.8"], "Images were mixed by Mixup (alpha 0.8)."),
        (["recipe.finetuning.retrain_head=10"], "a fresh one was trained alone by cross-entropy for 10 epochs"),
        (["recipe.finetuning.cutmix=1.0"], "Images were mixed by CutMix (alpha 1)."),
        (["recipe.finetuning.ema_decay=0.999"], "A running average of the weights (decay 0.999) was tested."),
        (["recipe.finetuning.checkpoint=best"], "of the training folds were tested. It was 20 % of them."),
        (["loss=weighted"], "by weighted cross-entropy (a cell of a class of n training cells counts n^-1) with label"),
        (["loss=weighted", "loss.exponent=null", "loss.beta=0.99"], "number of its class's training cells, beta 0.99"),
        (["loss=focal"], "by the focal loss (gamma 2, arXiv 1708.02002), from"),
        (["loss=balanced_softmax"], "by balanced softmax (arXiv 2007.10740), from the mean"),
        (["loss=logit_adjusted", "loss.tau=1.5"], "by logit-adjusted cross-entropy (tau 1.5, arXiv 2007.07314)"),
        (["loss=ldam"], "largest margin 0.5, scale 30, arXiv 1906.07413), from the mean of the patch tokens. "),
        (["loss=ldam"], "The classifier's logits were scaled cosines"),
        (["loss=ldam"], "After 80 % of the training a cell counted 1 over the effective number"),
        (["sampler=class_balanced"], "Training cells were drawn with replacement, all classes equally often."),
        (["sampler=sqrt"], "a class of n training cells in proportion to n^0.5 (arXiv 1910.09217)."),
        (["sampler=effective_number"], "of its class's training cells (beta 0.999, arXiv 1901.05555)."),
        (["trainer.precision=bf16-mixed"], "precision bf16-mixed"),
        (["+recipe.finetuning.view.brightness=0.2"], "brightness changed by up to 20 %"),
        (
            ["recipe=official"],
            "RandAugment (rand-m9-mstd0.5-inc1, arXiv 1909.13719), random erasing with probability 0.25",
        ),
        (["evaluation=linear_probe"], "logistic regression on them classified the tested ones, C chosen on 20 % of"),
        (["evaluation=knn"], "the 20 nearest by cosine voted (temperature 0.07)"),
    ],
)
def test_finetuning_follows_its_settings(overrides: list[str], said: str) -> None:
    told = finetuning_paragraph(run_with("ssl=mae", *overrides))
    assert said in told and "{" not in told and "None" not in told
    assert ("fine-tuned" in told) is ("evaluation" not in overrides[0])
    assert said not in finetuning_paragraph(run_with("ssl=mae"))


def test_the_best_epochs_of_the_folds_are_told(write_run: Write, tmp_path: Path) -> None:
    run = write_run(
        "mae-1", folds=[0, 1], counts=SMALL, rare=[], common=[], settings={"recipe.finetuning.checkpoint": "best"}
    )
    for fold, epoch in ((0, 7), (1, 12.5)):
        path = run / f"fold_{fold}" / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"classification": {"epoch": epoch}}))
    assert "By fold, these were the epochs 7 and 12.5." in section(tmp_path)["Fine-tuning"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["selection.alpha=0.25"], "by Eq. 8 with alpha = 0.25"),
        (["selection.bounds=fixed"], "LB = 15 and UB = 19 for all"),
        (["selection.bounds=quantile"], "the quantiles 0.05 and 0.95 of the distances"),
        (["selection.assignment=any"], "within the threshold of any prototype (Algorithm 1)"),
        (["selection.prototypes=per_class"], "K-means with K = 1 in every class"),
        (["selection.num_prototypes=13"], "K-means with 13 clusters over"),
        (["selection/features=resnetv2_50"], "features of resnetv2_50"),
        (["selection.features.transform=l2"], "transformed by l2"),
        (["selection=crf"], "Pretraining was on all regions."),
        (["selection=none"], "the whole unlabeled slides, as random resized crops"),
        (["selection=random"], "As many regions as ActiveSSF keeps were kept, drawn at random."),
        (["selection=random", "selection.budget=500"], "500 regions were kept, drawn at random."),
        (["selection=kcenter"], "greedy k-center"),
        (["selection=activessf_plus"], "The mix of subtypes aimed at was balanced."),
        (["selection=activessf_plus", "selection.abstain=0.9"], "than 90 % of the labeled cells would be"),
    ],
)
def test_a_selection_is_told_as_it_is_set(overrides: list[str], said: str) -> None:
    told = selection_paragraph(run_with("ssl=mae", *overrides))
    assert said in told and "{" not in told and "None" not in told
    assert said not in selection_paragraph(run_with("ssl=mae"))


def test_the_search_for_regions_is_told_with_the_papers_numbers() -> None:
    summary = {"images": 10_000, "images_with_region": 5000, "regions": 7299, "failed": 0, "seconds": 7200.0}
    told = regions_paragraph(run_with("ssl=mae"), summary)
    for fact in (
        "(min-max), smoothed by a Gaussian filter of 3 pixels (sigma 1.5)", "20 colours by K-means", "merged to 10",
        "purple (hue 30-140, saturation 100-255, value 0-255) and deep_blue (hue 95-105, saturation 150-255, value 50-",
        "at least 70 pixels wide and high and filled to 70 % or more",
        "This gave 7,299 regions in 5,000 of 10,000 slides, in 2.0 hours.",
    ):  # fmt: skip
        assert fact in told, (fact, told)
    assert "holes" not in told and "Touching" not in told and "widened" not in told
    assert "Squares" not in told
    other = ["regions.fill_holes=true", "regions.closing=5", "regions.split_touching=true", "regions.margin=10",
             "regions.max_size=200", "regions.resolution=0.25", "crop_size=80"]  # fmt: skip
    told = regions_paragraph(run_with("ssl=mae", *other), {})
    for fact in ("gaps were closed over 5 pixels and holes were filled", "Touching cells were split", "widened by 10",
                 "at most 200", "0.25 micrometres per pixel", "Squares of 80 pixels round them"):  # fmt: skip
        assert fact in told, (fact, told)


def test_a_backbone_is_told_with_what_it_differs_in_from_timms() -> None:
    told = finetuning_paragraph(run_with("ssl=none", "backbone=vit_mini", "recipe.patch_size=8"))
    config = configure(Path("nowhere"), "ssl=none", "backbone=vit_mini").backbone
    assert told.startswith("vit_mini (timm's vit_tiny_patch16_224, ") and "patches of 8)" in told
    for key in ("embed_dim", "depth", "num_heads"):
        assert f"{key.replace('_', ' ')} {config[key]}," in told


@pytest.mark.parametrize("method", ["mae", "convmae", "mixmim", "mixedae", "mocov3"])
def test_every_method_has_its_name_and_source(method: str) -> None:
    told = pretraining_paragraph(run_with(f"ssl={method}"))
    sources = Path(__file__).parents[3].joinpath(f"activessf/methods/{method}.py").read_text().split('"""')[1]
    number = next(word.strip("(),.;:\n") for word in sources.split("arXiv ")[1].split())
    assert f"arXiv {number}" in told and "{" not in told and "Views were random crops" in told


def test_a_supervised_run_has_neither_regions_nor_selection_nor_pretraining() -> None:
    run = run_with("ssl=none", "backbone=resnet50")
    assert regions_paragraph(run, {}) == "" == selection_paragraph(run)
    assert pretraining_paragraph(run).startswith("There was no pretraining")
    told = finetuning_paragraph(run)
    assert told.startswith("resnet50 (224 x 224 pixels) was trained on the labeled cells")
    assert told.endswith("It started from scratch.") and "layer-wise" not in told
    pretrained = run_with("ssl=none", "backbone=resnet50", "backbone.pretrained=true")
    assert finetuning_paragraph(pretrained).endswith("It started from weights pretrained on ImageNet (timm).")


def test_what_runs_share_is_said_once_and_what_they_don_t_with_their_names(write_run: Write, tmp_path: Path) -> None:
    common = {"recipe.finetuning.steps": 200, "recipe.finetuning.batch_size": 64}
    write_run("mae-0", "mae", "none", counts=SMALL, rare=["HL-MK"], common=["G-MK"], settings=common)
    write_run("mae-1", "mae", "activessf", counts=SMALL, rare=["HL-MK"], common=["G-MK"], settings=common)
    write_run(
        "vit", "none", "none", counts=SMALL, rare=[], common=[], settings=common, title="vit_tiny (no pretraining)"
    )
    told = section(tmp_path)
    assert list(told) == ["Data", "Selection", "Pretraining", "Fine-tuning", "Evaluation", "Software and time"]
    assert told["Selection"].startswith("[mae + activessf]") or "\n[mae + activessf]" in told["Selection"]
    assert (
        "[mae + none, mae + activessf]" in told["Pretraining"] or "[mae + activessf, mae + none]" in told["Pretraining"]
    )
    assert (
        "resized crops; none with a cell of the tested fold. Pretraining saw 211 images a fold, in 100"
        in told["Selection"]
    )
    assert told["Fine-tuning"].count("200 steps, batches of 64") == 2  # pretrained, and not


def test_the_data_are_counted_and_the_folds_told(write_run: Write, tmp_path: Path) -> None:
    run = write_run("mae-1", folds=[0, 1, 3], counts=SMALL, rare=["HL-MK"], common=["G-MK"])
    change(run, {"folds_given": False})
    told = section(tmp_path)["Data"]
    frames = pd.concat([pd.read_csv(path) for path in run.glob("*/predictions.csv")])
    counts = frames["label"].value_counts()
    assert (
        f"The data set demo has {len(frames)} labeled cells of 3 classes in {frames['image'].nunique()} images: "
        in told
    )
    for name, count in counts.items():
        assert f"{name} {count} ({100 * count / len(frames):.1f} %)" in told
    assert "Rare: HL-MK. Common: G-MK." in told
    assert "5 folds, stratified by class, at random; groups of cells are not known" in told
    assert "Folds 2 and 4 are not finished, and not counted here." in told
    change(run, {"folds_given": True})
    assert "5 folds, as the data set gives them" in section(tmp_path)["Data"]


def test_groups_are_counted(write_run: Write, tmp_path: Path) -> None:
    def grouped(fold: int) -> pd.DataFrame:
        return pd.DataFrame(
            {"image": "i", "x": [1, 2], "y": 1, "width": 1, "height": 1, "group": [f"p{fold}", f"q{fold}"],
             "fold": fold, "label": ["a", "b"], "predicted": ["a", "a"], "p_a": 0.6, "p_b": 0.4}
        )  # fmt: skip

    write_run("mae-1", folds=[0, 1], counts={"a": 2, "b": 2}, rare=[], common=[], num_folds=2, predictions=grouped)
    told = section(tmp_path)["Data"]
    assert "from 4 groups (patients or slides)" in told and "no group is in two folds" in told


def test_groups_that_were_kept_together_are_counted(write_run: Write, tmp_path: Path) -> None:
    run = write_run("mae-1", folds=[0, 1], counts=SMALL, rare=[], common=[])
    change(run, {"joined_groups": [["a.png", "b.png"], ["c.png", "d.png", "e.png"]]})
    told = "groups of cells are not known, and 5 cells that show the same as another one, exactly or nearly, were kept"
    assert f"{told} together as 2; each was tested once" in section(tmp_path)["Data"]
    change(run, {"joined_groups": []})
    assert "groups of cells are not known; each was tested once" in section(tmp_path)["Data"]


def test_software_hours_and_seeds_are_told_and_shared_pretraining_counts_once(write_run: Write, tmp_path: Path) -> None:
    run = write_run("mae-1", folds=[0, 1], counts=SMALL, rare=[], common=[], num_folds=2)
    change(run, {"pretraining": "shared-by-all", "git": "0123456789abcdef+changes", "device": "CPU with 2 cores",
                 "seconds": {"pretraining": 7200.0, "finetuning": 3600.0}})  # fmt: skip
    told = section(tmp_path)["Software and time"]
    assert "python 3.11.7 and torch 2.14.1" in told and "Seed: 0." in told and "Device: CPU with 2 cores." in told
    assert "0123456789ab with uncommitted changes" in told
    assert "pretraining 2.0 hours and fine-tuning 2.0 hours" in told
    for fold in (0, 1):
        path = run / f"fold_{fold}" / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"pretraining": f"of fold {fold}"}))
    assert "pretraining 4.0 hours and fine-tuning 2.0 hours" in section(tmp_path)["Software and time"]


def test_a_leak_is_told(write_run: Write, tmp_path: Path) -> None:
    write_run("mae-1", folds=[0], counts=SMALL, rare=[], common=[], scope="all")
    assert "Labels of all cells, those of the tested fold among them" in section(tmp_path)["Selection"]


def test_a_scope_that_was_not_recorded_is_not_claimed(write_run: Write, tmp_path: Path) -> None:
    write_run("mae-1", folds=[0], counts=SMALL, rare=[], common=[])
    assert "tested fold" not in section(tmp_path)["Selection"]
    write_run("mae-2", folds=[0], counts=SMALL, rare=[], common=[], scope="train_fold")
    assert "Of the tested fold no label had a part in it" in section(tmp_path)["Selection"]


def test_an_ldam_without_what_it_can_leave_out_is_told_without_it() -> None:
    told = finetuning_paragraph(run_with("loss=ldam", "loss.normalised_classifier=false", "loss.reweight_from=1"))
    assert "the LDAM loss" in told and "cosines" not in told and "effective number" not in told


def test_all_changes_of_the_views_of_mocov3_are_told() -> None:
    told = pretraining_paragraph(run_with("ssl=mocov3"))
    assert "mirrored left-right, changed in colour, some made grey, some blurred, some solarised." in told


def test_tests_are_told_where_there_is_something_to_compare(write_run: Write, tmp_path: Path) -> None:
    write_run("mae-1", folds=[0], counts=SMALL, rare=[], common=[])
    alone = section(tmp_path)["Evaluation"]
    assert "t-test" not in alone and "compared" not in alone
    for fact in ("Matthews", "AUROC", "calibration error in 15 bins", "head, medium and tail classes. Classes sorted",
                 "intervals of 95 % from 1,000 bootstrap resamples of whole images."):  # fmt: skip
        assert fact in alone, fact
    write_run("mae-0", "mae", "none", folds=[0], counts=SMALL, rare=[], common=[])
    assert "of a single fold there is no test" in section(tmp_path)["Evaluation"]


@pytest.mark.parametrize("num_folds", [5, 7])
def test_the_tests_of_several_folds_are_told_by_name(num_folds: int, write_run: Write, tmp_path: Path) -> None:
    for name, selection in (("mae-0", "none"), ("mae-1", "activessf")):
        write_run(
            name, "mae", selection, folds=range(num_folds), num_folds=num_folds, counts=SMALL, groups=2,
            rare=["HL-MK"], common=["G-MK"],
        )  # fmt: skip
    told = section(tmp_path)["Evaluation"]
    for fact in ("paired t-tests", "Nadeau and Bengio", "Holm's correction", "Hedges' g", "The data set's common",
                 "resamples of whole groups (patients or slides)", "Differences of PR-AUC have intervals"):  # fmt: skip
        assert fact in told, fact
    assert ("Wilcoxon" in told) is (num_folds == 7)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"recipe.pretraining.steps": None, "selection.alpha": None, "regions.min_size": 70},
        {
            "regions.stain_ranges": "odd",
            "regions.min_size": 70,
            "selection.bounds": "new",
            "selection.prototypes": ["?"],
        },
        {"loss.label_smoothing": 0.1, "ssl_method.view.scale": [0.2, 1.0], "something.new": {"deep": [1]}},
    ],
)
def test_settings_that_are_missing_odd_or_new_break_nothing(
    settings: dict[str, Any], write_run: Write, tmp_path: Path
) -> None:
    for name, method, selection in (("a", "mae", "activessf"), ("b", "brand_new", "odd"), ("c", "none", "none")):
        run = write_run(name, method, selection, folds=[0], counts=SMALL, rare=[], common=[], settings=settings,
                        choices={"loss": "brand_new", "sampler": "odd"})  # fmt: skip
        for key in ("versions", "git", "seconds", "pretraining_images"):
            change(run, {key: None})
    for text in section(tmp_path).values():
        assert "{" not in text and "None" not in text and "  " not in text
