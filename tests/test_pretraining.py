"""Stage 3 in the pipeline: what it is named by, what it sees and watches, what networks start from."""

import json
import re
import shutil
import warnings
from pathlib import Path

import pandas as pd
import pytest
import timm
import torch
from tiny import configure, on, refused, vit_mini

from activessf import classification, commands, pipeline, pretraining
from activessf.errors import InputError
from activessf.trainings import make_optimization


def test_alphas_that_keep_the_same_regions_share_their_pretraining(outputs, demo, run):
    first = pipeline.Pipeline(configure(outputs, *on(demo), "selection.alpha=0", "fold=2"))
    # At alpha = 0 every threshold is UB, and so it is with LB = UB.
    second = pipeline.Pipeline(
        configure(
            outputs, *on(demo), "fold=2", "selection.alpha=3", "selection.bounds=quantile",
            "selection.lower_quantile=1", "selection.upper_quantile=1",
        )
    )  # fmt: skip
    assert first.selecting.selection.name != second.selecting.selection.name
    assert first.selecting.pretraining_images() == second.selecting.pretraining_images()
    assert first.pretraining.artifact.name == second.pretraining.artifact.name


def test_layer_decay_and_accumulation_reach_the_training(outputs, demo):
    made = pipeline.Pipeline(configure(outputs, *on(demo), "ssl.layer_decay=0.5"))
    images = made.selecting.pretraining_images()
    assert made.pretraining.artifact.inputs["method"]["layer_decay"] == 0.5
    method = made.pretraining.method()
    ssl = made.config.ssl_method
    method.optimization = make_optimization(made.config.recipe.pretraining, len(images), ssl.betas, ssl.layer_decay)
    optimizer = method.configure_optimizers()["optimizer"]
    rates = {id(value): group["initial_lr"] for group in optimizer.param_groups for value in group["params"]}
    # four blocks: the patch embedding lies five layers below the top
    assert rates[id(method.encoder.patch_embed.proj.weight)] == pytest.approx(
        0.5**5 * rates[id(method.decoder.mask_token)]
    )


def test_who_watches_shares_the_pretraining_with_who_does_not(run, outputs, demo):
    usual, other = (
        pipeline.Pipeline(configure(outputs, *on(demo), "fold=0", *overrides)).pretraining.artifact
        for overrides in ([], ["watch.every=0", "watch.knn_neighbours=3"])
    )
    assert usual.name == other.name and usual.ready


def test_a_pretraining_folder_shows_that_it_learned(run, outputs):
    record = json.loads((run / "run.json").read_text())
    folder = outputs / "stages" / "pretraining" / record["pretraining"]
    assert pd.read_csv(folder / "probe.csv")["step"].tolist() == [0, 3]
    assert json.loads((folder / "summary.json").read_text())["probe"]["fold"] == 0
    assert {path.name for path in (folder / "reconstructions").iterdir()} == {"step_000000.png", "step_000003.png"}
    assert (folder / "curves.png").is_file() and (folder / "history" / "metrics.csv").is_file()


@pytest.mark.parametrize(
    ("overrides", "number", "words"),
    [
        (["ssl=mocov3"], 24, "24 images for batches of 64: .* within a batch; choose recipe.pretraining.batch_size=24"),
        (["ssl=mixmim"], 23, "23 images for batches of 64: .*; choose recipe.pretraining.batch_size=22 or lower"),
        (["ssl=mixmim", "trainer.devices=4"], 23, "23 images for batches of 64: .*_size=16 or lower"),
        (["ssl=mae", "+trainer.accumulate_grad_batches=2"], 24, "24 images for batches of 32: .*_size=48 or lower"),
        (["ssl=mae", "+trainer.accumulate_grad_batches=2"], 32, None),
        (["ssl=mae"], 64, None),
        (["ssl=mae"], 63, "63 images for batches of 64"),
        (["ssl=mixmim"], 1, "1 images for batches of 64: .*; add images"),
    ],
)  # fmt: skip
def test_images_that_do_not_fill_a_batch_are_told_once(outputs, demo, monkeypatch, tmp_path, overrides, number, words):
    monkeypatch.setattr(pretraining, "pretrain", lambda *_: None)
    made = pipeline.Pipeline(configure(outputs, *on(demo), "fold=0", "recipe.pretraining.batch_size=64", *overrides))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made.pretraining._pretrain([tmp_path / f"{index}.png" for index in range(number)], tmp_path)
    told = [str(warning.message) for warning in caught if "within a batch" in str(warning.message)]
    assert len(told) == (words is not None) and all(re.match(words, line) for line in told)


@pytest.mark.parametrize("overrides", [[], ["selection.scope=all"], ["selection=none"]])
def test_no_cell_of_the_tested_fold_is_watched(outputs, demo, monkeypatch, overrides):
    seen = {}

    def look(method, images, view, runner, name, folder, checkpoints, watched, compiled):
        seen["cells"] = watched.cells
        raise InputError("seen enough")

    monkeypatch.setattr(pretraining, "pretrain", look)
    made = pipeline.Pipeline(configure(outputs, *on(demo), "fold=3", "recipe.pretraining.steps=7", *overrides))
    with pytest.raises(InputError, match="seen enough"):
        made.pretraining.artifact.obtain()
    cells, table = seen["cells"], made.prepared.labeled
    crops = [path.relative_to(made.prepared.cells.folder).as_posix() for path in cells.images.paths]
    known = table.set_index("crop").loc[crops]
    assert set(crops) == set(table.loc[table["fold"] != 3, "crop"]) and not (known["fold"] == 3).any()
    assert list(cells.groups) == known["group"].tolist() and cells.fold == 3
    assert [made.prepared.source.classes[target] for target in cells.images.targets] == known["label"].tolist()


def test_a_backbone_that_does_not_fit_is_refused_before_anything_runs(tmp_path, demo):
    refused(tmp_path, *on(demo), "ssl=mae", "backbone=resnet18", match="ssl=mae needs a plain Vision Transformer")
    refused(tmp_path, *on(demo), "ssl=convmae", "backbone=vit_mini", match="ssl=convmae needs a ConvViT")
    assert not (tmp_path / "stages").exists()


def test_pretrained_weights_of_a_network_that_has_none_are_refused_before_anything_runs(tmp_path, demo):
    refused(
        tmp_path, *on(demo), "ssl=none", "backbone=convvit_mini", "backbone.pretrained=true",
        match="backbone.pretrained=true: there are no pretrained weights of ConvViT",
    )  # fmt: skip
    assert not (tmp_path / "stages").exists()


def test_mixmim_runs_through_and_takes_even_batches_only(outputs, demo):
    chosen = (*on(demo), "ssl=mixmim", "selection=activessf", "fold=0")
    record = json.loads((commands.train(configure(outputs, *chosen)) / "run.json").read_text())
    assert record["choices"]["backbone"] == "mixmim_mini" and record["pretraining_steps"] == 3
    for batch in (1, 7):
        match = f"in pairs, but a batch has {batch}; choose an even recipe.pretraining.batch_size"
        refused(outputs, *chosen, f"recipe.pretraining.batch_size={batch}", match=match)
    refused(outputs, *chosen, "+trainer.accumulate_grad_batches=8", match="in pairs, but a batch has 1")


def test_weights_that_are_not_to_be_had_are_refused(tmp_path, demo):
    chosen = ("ssl=none", "backbone=mixmim_mini", "backbone.pretrained=true")
    refused(tmp_path, *on(demo), *chosen, match="timm's hub has no weights of MixMIM")


def seen_by(monkeypatch, stage: str, *settings: str, output: Path) -> dict[str, torch.Tensor]:
    """Weights that a stage is given."""
    seen = {}

    def look(module, *_):
        seen.update({name: value.clone() for name, value in module.state_dict().items()})
        raise InputError("seen enough")

    monkeypatch.setattr(pretraining if stage == "pretrain" else classification, stage, look)
    refused(output, *settings, match="seen enough")
    return seen


def test_a_checkpoint_starts_the_encoder_of_a_pretraining(tmp_path, demo, monkeypatch):
    file, published = tmp_path / "published.pth", vit_mini(5).state_dict()
    torch.save({"model": published}, file)
    seen = seen_by(monkeypatch, "pretrain", *on(demo), "selection=none", f"backbone.checkpoint={file}", output=tmp_path)
    assert all(torch.equal(seen[f"encoder.{name}"], value) for name, value in published.items())


def test_a_checkpoint_starts_a_supervised_network(tmp_path, demo, monkeypatch):
    file, published = tmp_path / "published.pth", vit_mini(5).state_dict()
    torch.save(published, file)
    seen = seen_by(monkeypatch, "finetune", *on(demo), "ssl=none", f"backbone.checkpoint={file}", output=tmp_path)
    for name, value in published.items():
        assert name.startswith("norm.") or torch.equal(seen[f"network.{name}"], value), name
    assert seen["network.head.weight"].abs().sum() > 0


def test_init_starts_a_whole_method_and_keys_follow_content_not_paths(tmp_path, demo, monkeypatch):
    method = pipeline.Pipeline(configure(tmp_path, *on(demo), "selection=none", "seed=3")).pretraining.method()
    names = {"encoder.": "", "decoder.mask_token": "mask_token", "decoder.": "decoder_"}
    weights = {}
    for name, value in method.state_dict().items():
        ours = next(prefix for prefix in names if name.startswith(prefix))
        weights[names[ours] + name.removeprefix(ours)] = value
    made = {}
    torch.save({"model": weights}, tmp_path / "a.pth")
    shutil.copyfile(tmp_path / "a.pth", tmp_path / "b.pth")
    torch.save({"model": {name: value + 1 for name, value in weights.items()}}, tmp_path / "c.pth")
    for file in ("a.pth", "b.pth", "c.pth"):
        made[file] = pipeline.Pipeline(configure(tmp_path, *on(demo), "selection=none", f"ssl.init={tmp_path / file}"))
    assert made["a.pth"].run_name == made["b.pth"].run_name != made["c.pth"].run_name
    encoders = [one.pretraining.artifact.name for one in made.values()]
    assert encoders[0] == encoders[1] != encoders[2]
    scratch = pipeline.Pipeline(configure(tmp_path, *on(demo), "selection=none"))
    assert scratch.run_name != made["a.pth"].run_name and scratch.pretraining.artifact.name != encoders[0]
    init = f"ssl.init={tmp_path / 'a.pth'}"
    seen = seen_by(monkeypatch, "pretrain", *on(demo), "selection=none", init, output=tmp_path)
    assert all(torch.equal(seen[name], value) for name, value in method.state_dict().items())


def test_starting_weights_that_can_not_be_are_refused_before_anything_runs(tmp_path, demo):
    file, other, output = tmp_path / "a.pth", tmp_path / "b.pth", tmp_path / "out"
    torch.save(vit_mini(5).state_dict(), file)
    torch.save(timm.create_model("resnet18").state_dict(), other)
    checkpoint, init = f"backbone.checkpoint={file}", f"ssl.init={file}"
    for overrides, match in (
        ([checkpoint, init], "ssl.init and backbone.checkpoint both"),
        ([checkpoint, "ssl=none", "backbone.pretrained=true"], "backbone.checkpoint and backbone.pretrained=true both"),
        ([init, "ssl=none"], "ssl=none has none; use backbone.checkpoint"),
        ([f"backbone.checkpoint={other}"], "b.pth, read as timm's names, doesn't fit the VisionTransformer"),
        ([f"backbone.checkpoint={other}", "ssl=none"], "b.pth, read as timm's names, doesn't fit"),
        ([f"ssl.init={other}"], "doesn't fit the MAE with a VisionTransformer"),
        (["backbone.checkpoint=/nope.pth"], "The checkpoint /nope.pth is no file"),
        (["ssl.init=/nope.pth"], "The checkpoint /nope.pth is no file"),
        (["backbone=dinov2_small", "ssl=none"], "recipe.image_size=48 is no multiple of 14"),
        (["backbone.img_size=32"], r"backbone.img_size=32 must be recipe.image_size=48.*Set recipe.image_size alone"),
        (["backbone.img_size=[48,48]"], r"backbone.img_size=\[48, 48\] must be recipe.image_size=48"),
    ):
        refused(output, *on(demo), *overrides, match=match)
    assert not (output / "stages").exists()


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["recipe.pretraining.norm_pix_loss=off"], "recipe.pretraining.norm_pix_loss=off must be true or false"),
        (["ssl_method.method.norm_pix_loss=off"], "ssl_method.method.norm_pix_loss=off must be true or false"),
        (["ssl.decay_vectors=off"], "ssl_method.decay_vectors=off must be true or false"),
        (["ssl.decay_vectors=null"], "ssl_method.decay_vectors=None must be true or false"),
        (["ssl=mocov3", "ssl.method.stop_grad_conv1=off"], "stop_grad_conv1=off must be true or false"),
        (["ssl=mixedae", "ssl.method.top_keys.counts_self=off"], "top_keys.counts_self=off must be true or false"),
        (["ssl=mixedae", "ssl.method.top_keys.class_tokens_compete=off"], "class_tokens_compete=off must be true or"),
        (["recipe.finetuning.view.quarter_turns=off"], "finetuning.view.quarter_turns=off must be true or false"),
        (["backbone.pretrained=off"], "backbone.pretrained=off must be true or false"),
        (["selection.features.packaged=off"], "selection.features.packaged=off must be true or false"),
        (["ssl.method.mask_ratio=nan"], "ssl_method.method.mask_ratio=nan must be a number"),
        (["ssl.method.mask_ratio=lots"], "ssl_method.method.mask_ratio=lots must be a number"),
        (["ssl=mixedae", "ssl.method.mixing_ratio=nan"], "ssl_method.method.mixing_ratio=nan must be a number"),
        (["ssl=mocov3", "ssl.method.momentum=inf"], "ssl_method.method.momentum=inf must be a number"),
        (["selection.features.whitening_shrinkage=nan"], "selection.features.whitening_shrinkage=nan must be finite"),
        (["recipe.pretraining.view.scale=[nan,1]"], r"recipe.pretraining.view.scale=\[nan, 1\] must be finite"),
        (["ssl=mixedae", "ssl.method.plain_blocks=1.5"], "plain_blocks=1.5 must be a whole number, 0 or more"),
        (["ssl=mixedae", "ssl.method.contrast.block=1.5"], "contrast.block=1.5 must be null or a whole number"),
        (["ssl=mocov3", "recipe.pretraining.projector.hidden_dim=0"], "hidden_dim=0 must be a whole number, 1 or more"),
        (["ssl.betas=[0.9]"], r"ssl_method.betas=\[0.9\] must be two numbers"),
        (["ssl.betas=[0.9,2.0]"], r"ssl_method.betas=\[0.9, 2.0\] must be two numbers"),
        (["recipe.finetuning.betas=0.9"], "recipe.finetuning.betas=0.9 must be two numbers"),
        (["recipe.pretraining.steps=2.5"], "recipe.pretraining.steps=2.5 must be null or a whole number"),
        (["recipe.pretraining.min_lr=null"], "recipe.pretraining.min_lr=None must be a number"),
        (["recipe.pretraining.min_lr=1"], "recipe.pretraining.min_lr=1, .* lies above the peak of 0.000125"),
        (["recipe.finetuning.min_lr=1"], "recipe.finetuning.min_lr=1, .* lies above the peak of 0.00025"),
        (["recipe.pretraining.decoder.num_heads=3"], "embed_dim=64 must be a multiple of 4 and of .*num_heads=3"),
        (["recipe.pretraining.decoder.embed_dim=63"], "decoder.embed_dim=63 must be a multiple of 4"),
        (["recipe.pretraining.decoder.depth=-1"], "decoder.depth=-1 must be a whole number, 0 or more"),
        (["+trainer.accumulate_grad_batches=0"], "trainer.accumulate_grad_batches=0 must be a whole number, 1 or more"),
        (["+trainer.accumulate_grad_batches=-1"], "trainer.accumulate_grad_batches=-1 must be a whole number"),
        (["trainer.precision=bf16-true"], "trainer.precision=bf16-true keeps the weights .* use bf16-mixed"),
        (["trainer.precision=16-true"], "trainer.precision=16-true keeps the weights .* use bf16-mixed"),
    ],
)
def test_settings_of_pretraining_that_can_not_be_are_one_sentence(tmp_path, demo, overrides, match):
    refused(tmp_path, *on(demo), *overrides, match=match)
    assert not (tmp_path / "stages").exists()


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        (["ssl=mixmim", "recipe.pretraining.batch_size=1"], "in pairs, but a batch has 1"),
        (["ssl=mixmim", "recipe.pretraining.batch_size=2", "trainer.devices=2"], "in pairs, but a batch has 1"),
        (["ssl=mae", "+trainer.accumulate_grad_batches=3"], "accumulate_grad_batches=3 does not divide the batch of"),
        (
            ["ssl=mixedae", "recipe.pretraining.batch_size=12", "+trainer.accumulate_grad_batches=2"],
            "mixes 4 images .* but a batch has 6; give it a multiple of 4",
        ),
        (["ssl=mocov3", "recipe.pretraining.batch_size=1"], "a batch has 1; give it at least 2"),
    ],
)
def test_batches_that_can_not_be_are_refused_before_anything_runs(tmp_path, demo, overrides, match, dry_run):
    refused(tmp_path, *on(demo), *overrides, f"dry_run={dry_run}", match=match)
    assert not (tmp_path / "stages").exists()


def test_the_images_that_mocov3_tells_apart_are_those_of_all_devices(tmp_path, demo):
    chosen = ("ssl=mocov3", "recipe.pretraining.batch_size=2", "trainer.devices=2")
    pipeline.Pipeline(configure(tmp_path, *on(demo), *chosen)).check_networks()
