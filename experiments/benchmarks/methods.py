"""How fast a whole pretraining step is, against the published way of computing it.

    python experiments/benchmarks/methods.py --methods mae,convmae,mixmim,mixedae,mocov3

Every method at its base size, 224 pixels, on random images: forward, backward and optimiser step. `plain` is the step
as the published codes write it: attention by explicit matrix products and softmax, ConvMAE's convolutions and MoCo
v3's last block on all tokens, AdamW parameter group by parameter group, eager, 32 bits. `ours` is what training runs;
`compiled` has compiled blocks (`compile=true`), `bf16` is under autocast (`trainer.precision=bf16-mixed`). Each way has
a process of its own; seconds are the median of the steps after the first ones, memory is the process's peak (VmHWM).
Every round measures all ways in turn, and ratios are medians over the rounds. With `--products` it tells instead how
much of a step is matrix products, which no way of computing around them can shorten.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from activessf.configuration import build, without
from activessf.methods import mocov3
from activessf.methods.convmae import ConvMAE
from activessf.methods.masking import Masking, gather, keep_smallest
from activessf.methods.method import SelfSupervisedMethod
from activessf.training.attention import attend_explicitly
from activessf.training.compilation import compile_blocks
from activessf.training.optimization import Optimization

CONF = Path(__file__).resolve().parents[2] / "conf"
WAYS = ("plain", "ours", "compiled", "bf16", "bf16 compiled")
_UNTIMED = 2
_PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")


def explicit_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, **_: Any
) -> Tensor:
    """Softmax of scaled products, as the published codes have it."""
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if attn_mask is not None:
        logits = logits.masked_fill(~attn_mask, -1e30) if attn_mask.dtype == torch.bool else logits + attn_mask
    return F.dropout(logits.softmax(dim=-1), dropout_p) @ value


def made(name: str) -> tuple[SelfSupervisedMethod, Any]:
    """The method at base size, and its optimiser's configuration."""
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose("config", [f"ssl_method={name}"])
    backbone = build(without(config.backbone, "name", "checkpoint"))
    return build(config.ssl_method.method, backbone=backbone), config.ssl_method


def encode_all_tokens(method: ConvMAE, views: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Masking]:
    """ConvMAE's encoder as published: convolutions of all tokens, masked where they mix cells."""
    encoder, N = method.encoder, len(views)
    masking = keep_smallest(torch.rand(N, encoder.num_patches), method.num_kept)
    shown = 1 - masking.mask.view(N, 1, *encoder.grid_size)
    x, skips = views, []
    for embed, blocks, cells, decode in (
        (encoder.patch_embed1, encoder.blocks1, 4, method.stage1_output_decode),
        (encoder.patch_embed2, encoder.blocks2, 2, method.stage2_output_decode),
    ):
        x = encoder.act(embed(x))
        mask = shown.repeat_interleave(cells, dim=2).repeat_interleave(cells, dim=3)
        for block in blocks:
            x = x + block.conv2(block.attn(mask * block.conv1(block.norm1(x))))
            x = x + block.mlp(block.norm2(x))
        skips.append(decode(x).flatten(2).transpose(1, 2))
    x = encoder.patch_embed4(encoder.act(encoder.patch_embed3(x)).flatten(2).transpose(1, 2)) + encoder.pos_embed
    tokens = encoder.forward_transformer(gather(x, masking.kept))
    return encoder.norm(tokens + sum(gather(skip, masking.kept) for skip in skips)), masking


@contextmanager
def computed(way: str) -> Iterator[None]:
    """What a way computes differently."""
    with ExitStack() as changes:
        if way == "plain":
            changes.enter_context(mock.patch.object(F, "scaled_dot_product_attention", explicit_attention))
            changes.enter_context(mock.patch.object(ConvMAE, "encode", encode_all_tokens))
            changes.enter_context(mock.patch.object(mocov3, "class_token", lambda encoder, images: encoder(images)))
        yield


def stepping(name: str, way: str, batch_size: int) -> Callable[[], None]:
    """One optimiser step after the other."""
    torch.manual_seed(0)
    method, ssl = made(name)
    optimizer_class: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW
    optimization = Optimization(
        optimizer=lambda groups, **how: optimizer_class(
            groups, betas=tuple(ssl.betas), fused=way != "plain", foreach=False if way == "plain" else None, **how
        ),
        base_lr=1e-3, batch_size=batch_size, weight_decay=0.05, layer_decay=1.0, min_lr=0.0, warmup_steps=0,
        total_steps=100, decay_vectors=ssl.decay_vectors,
    )  # fmt: skip
    method.optimization = optimization
    optimizer = method.configure_optimizers()["optimizer"]
    if "bf16" in way:
        attend_explicitly(method)  # as training does on a CPU
    if "compiled" in way:
        compile_blocks(method)
    shape = (batch_size, 2, 3, 224, 224) if name == "mocov3" else (batch_size, 3, 224, 224)
    images = torch.randn(shape)

    def step() -> None:
        with computed(way), torch.autocast("cpu", torch.bfloat16, enabled="bf16" in way):
            loss = method(images, 0.5)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(name: str, way: str, batch_size: int, steps: int) -> tuple[float, float]:
    """Seconds a step, and GiB at the peak."""
    step = stepping(name, way, batch_size)
    seconds = []
    for _ in range(_UNTIMED + steps):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return median(seconds[_UNTIMED:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure_products(name: str, way: str, batch_size: int, steps: int) -> tuple[float, float]:
    """Seconds of a step's matrix products, and of all of it."""
    step = stepping(name, way, batch_size)
    for _ in range(_UNTIMED):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            step()
    events = profiler.key_averages()
    seconds = [event.self_cpu_time_total / 1e6 / steps for event in events]
    products = [taken for event, taken in zip(events, seconds, strict=True) if event.key in _PRODUCTS]
    return sum(products), sum(seconds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default="mae,convmae,mixmim,mixedae,mocov3", help="which (default all)")
    parser.add_argument("--ways", default=",".join(WAYS), help="which (default all)")
    parser.add_argument("--batch-size", type=int, default=8, help="images a step (default 8)")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each way and round (default 5)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of all ways (default 3)")
    parser.add_argument("--products", action="store_true", help="tell the share of matrix products instead")
    options = parser.parse_args()
    os.environ.setdefault("ACTIVESSF_ROOT", str(CONF.parent))
    os.environ.setdefault("ACTIVESSF_PROCESS", str(os.getpid()))
    columns = ("seconds of matrix products", "of a step", "share")
    columns = columns if options.products else ("seconds a step", "times as fast as plain", "GiB")
    print("| method | way |", " | ".join(columns), "|\n|---|---|---|---|---|")
    for name in options.methods.split(","):
        if options.products:
            report_products(name, options.ways.split(","), options.batch_size, options.steps)
        else:
            report(name, options.ways.split(","), options.batch_size, options.steps, options.rounds)


def report(name: str, ways: list[str], batch_size: int, steps: int, rounds: int) -> None:
    """Print the rows of a method."""
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                found[way].append(pool.submit(measure, name, way, batch_size, steps).result())
    for way, rows in found.items():
        ratios = [plain[0] / own[0] for plain, own in zip(found[ways[0]], rows, strict=True)]
        cells = f"{median(row[0] for row in rows):.2f} | {median(ratios):.2f} | {max(row[1] for row in rows):.2f}"
        print(f"| {name} | {way} | {cells} |", flush=True)


def report_products(name: str, ways: list[str], batch_size: int, steps: int) -> None:
    """Print how much of a method's step is matrix products."""
    for way in ways:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            products, whole = pool.submit(measure_products, name, way, batch_size, steps).result()
        print(f"| {name} | {way} | {products:.2f} | {whole:.2f} | {products / whole:.0%} |", flush=True)


if __name__ == "__main__":
    main()
