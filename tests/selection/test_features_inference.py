import warnings

import pytest
import timm
import torch
from torch import Tensor, nn

from activessf.errors import InputError
from activessf.selection import inference
from activessf.selection.inference import compute, resolved_precision

CPU = torch.device("cpu")
IMAGES = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = timm.create_model(name, num_classes=0)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)  # fresh ones would hide a norm that is folded wrongly
            module.running_var.uniform_(0.5, 2)
    return made.eval()


def plain(of: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        result: Tensor = of(images)
    return result


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "resnetv2_18", "convnext_atto"])
def test_features_in_fp32_are_the_plain_networks_whatever_the_batch(name: str) -> None:
    made = network(name)
    expected = plain(made, IMAGES)
    fast = compute(made, "fp32", CPU, IMAGES)
    for rows in (slice(0, 5), slice(0, 1), slice(2, 5)):
        torch.testing.assert_close(fast(IMAGES[rows]), expected[rows], rtol=1e-3, atol=1e-4)


def test_the_network_is_a_folded_graph_where_it_can_be_traced() -> None:
    frozen = inference._frozen(network("resnet18"), IMAGES)
    assert isinstance(frozen, torch.jit.ScriptModule) and "batch_norm" not in str(frozen.inlined_graph)


def test_half_precision_that_turns_a_feature_is_given_up_with_a_warning() -> None:
    class Cancelling(nn.Module):
        """A small difference of large numbers, which bf16's 8 bits lose."""

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2, bias=False)
            self.linear.weight.data = torch.tensor([[1000.0, -1000.0, 0.0], [0.0, 1000.0, -1000.0]])

        def forward(self, images: Tensor) -> Tensor:
            result: Tensor = self.linear(1 + 0.001 * images.mean(dim=(2, 3)))
            return result

    made = Cancelling().eval()
    with pytest.warns(UserWarning, match="in fp32 instead of bf16, since a feature's cosine .* below 0.999"):
        fallen = compute(made, "bf16", CPU, IMAGES)
    torch.testing.assert_close(fallen(IMAGES), plain(made, IMAGES), rtol=1e-3, atol=1e-4)


def test_half_precision_that_is_good_enough_is_used_without_a_word() -> None:
    made = network("resnet18")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        half = compute(made, "bf16", CPU, IMAGES)(IMAGES)
    expected = plain(made, IMAGES)
    assert half.dtype == torch.float32 and not torch.equal(half, expected)
    assert torch.cosine_similarity(half, expected).min() >= 0.999


def test_a_network_that_can_not_be_traced_is_computed_as_it_is() -> None:
    class Odd(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            if torch.jit.is_tracing():
                raise RuntimeError("not like this")
            return images.mean(dim=(2, 3))

    torch.testing.assert_close(compute(Odd().eval(), "fp32", CPU, IMAGES)(IMAGES), IMAGES.mean(dim=(2, 3)))


def test_a_trace_that_went_wrong_is_not_used() -> None:
    class Lying(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean(dim=(2, 3)) * (torch.tensor([1.0, -1.0, 1.0]) if torch.jit.is_tracing() else 1)

    torch.testing.assert_close(compute(Lying().eval(), "fp32", CPU, IMAGES)(IMAGES), IMAGES.mean(dim=(2, 3)))


def test_auto_is_bf16_only_where_the_cpu_has_instructions_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(inference, "_has_bf16_instructions", lambda has=has: has)
        assert resolved_precision("auto", CPU) == expected
    assert resolved_precision("bf16", CPU) == "bf16" and resolved_precision("fp16", torch.device("cuda")) == "fp16"
    with pytest.raises(InputError, match="selection.features.precision=fp16 is none of auto, fp32, bf16"):
        resolved_precision("fp16", CPU)
