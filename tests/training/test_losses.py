"""Losses against formulas by hand, naive sums in plain Python, and torch's own cross-entropy."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from activessf.errors import InputError
from activessf.training.losses import (
    BalancedSoftmax,
    FocalLoss,
    LDAMLoss,
    LogitAdjustedCrossEntropy,
    WeightedCrossEntropy,
)

COUNTS = [60, 9, 1]
LOGITS = torch.tensor([[0.3, -1.2, 2.0], [1.5, 0.1, -0.4], [-0.7, 0.9, 0.2], [2.2, 2.1, -3.0]])
TARGETS = torch.tensor([2, 0, 1, 0])


def ldam(counts: Sequence[int], progress: float = 0.0, beta: float = 0.99) -> LDAMLoss:
    loss = LDAMLoss(counts, max_margin=0.5, scale=30.0, reweight_from=0.8, beta=beta)
    loss.progress = progress
    return loss


LOSSES: dict[str, Callable[[Sequence[int]], nn.Module]] = {
    "weighted": lambda counts: WeightedCrossEntropy(counts, 1.0, None, 0.1),
    "effective_number": lambda counts: WeightedCrossEntropy(counts, None, 0.99, 0.0),
    "focal": lambda counts: FocalLoss(2.0),
    "focal_root": lambda counts: FocalLoss(0.5),
    "balanced_softmax": lambda counts: BalancedSoftmax(counts, 0.1),
    "logit_adjusted": lambda counts: LogitAdjustedCrossEntropy(counts, 1.5, 0.0),
    "ldam": ldam,
    "ldam_reweighted": lambda counts: ldam(counts, progress=0.8),
}


def softmax(logits: Sequence[float]) -> list[float]:
    powers = [math.exp(value) for value in logits]
    return [power / sum(powers) for power in powers]


def value_of(loss: nn.Module, logits: Tensor = LOGITS, targets: Tensor = TARGETS) -> float:
    value = loss(logits, targets)
    assert value.shape == () and value.dtype == torch.float32
    return float(value)


def test_inverse_frequency_weights_each_cell_by_one_over_its_class() -> None:
    top = bottom = 0.0
    for logits, target in zip(LOGITS.tolist(), TARGETS.tolist(), strict=True):
        weight = 1 / COUNTS[target]
        top += weight * -math.log(softmax(logits)[target])
        bottom += weight
    assert value_of(WeightedCrossEntropy(COUNTS, 1.0, None, 0.0)) == pytest.approx(top / bottom, rel=1e-5)


def test_the_class_balanced_loss_is_torchs_with_weights_of_cui() -> None:
    beta = 0.9
    weights = torch.tensor([(1 - beta) / (1 - beta**n) for n in COUNTS])
    expected = functional.cross_entropy(LOGITS, TARGETS, weights)
    assert value_of(WeightedCrossEntropy(COUNTS, None, beta, 0.0)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    "make",
    [
        lambda smoothing: WeightedCrossEntropy(COUNTS, 0.0, None, smoothing),
        lambda smoothing: WeightedCrossEntropy(COUNTS, None, 0.0, smoothing),
        lambda smoothing: WeightedCrossEntropy([5, 5, 5], 1.0, None, smoothing),
        lambda smoothing: LogitAdjustedCrossEntropy(COUNTS, 0.0, smoothing),
        lambda smoothing: LogitAdjustedCrossEntropy([5, 5, 5], 1.0, smoothing),
        lambda smoothing: BalancedSoftmax([5, 5, 5], smoothing),
    ],
)
def test_without_an_imbalance_to_answer_losses_are_torchs_cross_entropy(
    make: Callable[[float], nn.Module], smoothing: float
) -> None:
    for targets in (TARGETS, torch.tensor([[0.5, 0.5, 0.0], [1, 0, 0], [0.2, 0.3, 0.5], [0, 0, 1]])):
        expected = functional.cross_entropy(LOGITS, targets, label_smoothing=smoothing)
        assert value_of(make(smoothing), targets=targets) == pytest.approx(float(expected), rel=1e-5)


def test_smoothing_of_a_weighted_cell_has_the_weight_of_the_cell() -> None:
    weights = [1 / 60, 1 / 9, 1.0]
    each = functional.cross_entropy(LOGITS, TARGETS, label_smoothing=0.2, reduction="none").tolist()
    own = [weights[target] for target in TARGETS]
    expected = sum(weight * cost for weight, cost in zip(own, each, strict=True)) / sum(own)
    assert value_of(WeightedCrossEntropy(COUNTS, 1.0, None, 0.2)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_loss_is_equation_4_of_the_softmax(gamma: float) -> None:
    p = [softmax(logits)[target] for logits, target in zip(LOGITS.tolist(), TARGETS.tolist(), strict=True)]
    expected = sum(-((1 - share) ** gamma) * math.log(share) for share in p) / len(p)
    assert value_of(FocalLoss(gamma)) == pytest.approx(expected, rel=1e-5)


def test_focal_loss_by_hand() -> None:
    # p = 1/2 and 3/4: (1/4 log 2 + 1/16 log 4/3) / 2
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    expected = (0.25 * math.log(2) + math.log(4 / 3) / 16) / 2
    assert value_of(FocalLoss(2.0), logits, torch.tensor([1, 0])) == pytest.approx(expected, rel=1e-6)


def test_balanced_softmax_counts_each_class_by_its_cells() -> None:
    expected = 0.0
    for logits, target in zip(LOGITS.tolist(), TARGETS.tolist(), strict=True):
        powers = [n * math.exp(value) for n, value in zip(COUNTS, logits, strict=True)]
        expected -= math.log(powers[target] / sum(powers)) / len(LOGITS)
    assert value_of(BalancedSoftmax(COUNTS, 0.0)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_logit_adjustment_adds_tau_times_the_log_prior(tau: float) -> None:
    expected = 0.0
    for logits, target in zip(LOGITS.tolist(), TARGETS.tolist(), strict=True):
        adjusted = [value + tau * math.log(n / 70) for n, value in zip(COUNTS, logits, strict=True)]
        expected -= math.log(softmax(adjusted)[target]) / len(LOGITS)
    assert value_of(LogitAdjustedCrossEntropy(COUNTS, tau, 0.0)) == pytest.approx(expected, rel=1e-5)


def ldam_by_hand(cosines: list[float], target: int, counts: Sequence[int]) -> float:
    """One cell's loss in the published form: s (cos - margin), of which only the target's has a margin."""
    c = 0.5 * min(counts) ** 0.25
    margin = c / counts[target] ** 0.25
    own = math.exp(30 * (cosines[target] - margin))
    others = sum(math.exp(30 * cosine) for number, cosine in enumerate(cosines) if number != target)
    return -math.log(own / (own + others))


COSINES = [[0.9, 0.2, -0.3], [0.1, 0.4, 0.35], [-0.2, 0.5, 0.6]]


def test_ldam_of_scaled_cosines_is_the_published_form() -> None:
    expected = np.mean([ldam_by_hand(row, target, COUNTS) for row, target in zip(COSINES, (0, 1, 2), strict=True)])
    assert value_of(ldam(COUNTS), 30 * torch.tensor(COSINES), torch.arange(3)) == pytest.approx(expected, rel=1e-5)


def test_ldam_has_margins_by_hand() -> None:
    # 16 times the cells: half the margin
    loss = ldam([16, 1])
    assert loss.margins.tolist() == pytest.approx([7.5, 15.0])
    found = value_of(loss, torch.tensor([[8.0, 0.0]]), torch.tensor([0]))
    assert found == pytest.approx(math.log(1 + math.exp(-0.5)), rel=1e-5)


def test_ldam_weighs_classes_in_the_last_part_of_the_training_alone() -> None:
    beta, targets = 0.99, torch.tensor([0, 1, 2])
    logits = 30 * torch.tensor(COSINES)
    each = [ldam_by_hand(row, target, COUNTS) for row, target in zip(COSINES, (0, 1, 2), strict=True)]
    weights = [(1 - beta) / (1 - beta**n) for n in COUNTS]
    reweighted = np.average(each, weights=weights)
    for progress, expected in ((0.0, np.mean(each)), (0.79, np.mean(each)), (0.8, reweighted), (1.0, reweighted)):
        assert value_of(ldam(COUNTS, progress), logits, targets) == pytest.approx(expected, rel=1e-5), progress


@pytest.mark.parametrize("name", LOSSES)
def test_shares_of_one_class_are_that_class(name: str) -> None:
    loss = LOSSES[name](COUNTS)
    shares = functional.one_hot(TARGETS, 3).float()
    assert value_of(loss, targets=shares) == pytest.approx(value_of(loss), rel=1e-6)


@pytest.mark.parametrize("name", ["focal", "balanced_softmax", "logit_adjusted", "ldam"])
def test_shares_of_two_classes_are_the_mean_of_their_losses(name: str) -> None:
    loss, others = LOSSES[name](COUNTS), torch.tensor([0, 1, 2, 2])
    shares = 0.3 * functional.one_hot(TARGETS, 3) + 0.7 * functional.one_hot(others, 3)
    expected = 0.3 * value_of(loss) + 0.7 * value_of(loss, targets=others)
    assert value_of(loss, targets=shares) == pytest.approx(expected, rel=1e-5)


def test_shares_of_two_classes_have_the_weights_of_both() -> None:
    costs = -LOGITS[:1].log_softmax(dim=1)[0]
    expected = (0.25 / 60 * costs[0] + 0.75 * costs[2]) / (0.25 / 60 + 0.75)
    loss = WeightedCrossEntropy(COUNTS, 1.0, None, 0.0)
    assert value_of(loss, LOGITS[:1], torch.tensor([[0.25, 0.0, 0.75]])) == pytest.approx(float(expected), rel=1e-5)


@settings(max_examples=60)
@given(
    name=st.sampled_from(list(LOSSES)),
    counts=st.lists(st.integers(0, 10**6), min_size=2, max_size=6).filter(any),
    size=st.sampled_from([0.0, 1.0, 50.0, 1e4]),
    seed=st.integers(0, 100),
)
def test_losses_and_gradients_are_numbers_whatever_the_counts_and_logits(
    name: str, counts: list[int], size: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = (size * torch.randn(5, len(counts), generator=generator)).requires_grad_()
    present = torch.tensor([number for number, count in enumerate(counts) if count])
    targets = present[torch.randint(len(present), (5,), generator=generator)]
    loss = LOSSES[name](counts)(logits, targets)
    loss.backward()
    assert torch.isfinite(loss) and loss >= 0 and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_training_pushes_the_logit_of_a_class_without_a_cell_down(name: str) -> None:
    logits = torch.zeros(4, 3, requires_grad=True)
    LOSSES[name]([60, 9, 0])(logits, torch.tensor([0, 1, 0, 1])).backward()
    assert (logits.grad[:, 2] > 0).all()


def test_adjusting_trains_the_logit_of_a_class_without_a_cell_as_that_of_the_most_frequent() -> None:
    for loss in (BalancedSoftmax([60, 9, 0], 0.0), LogitAdjustedCrossEntropy([60, 9, 0], 1.0, 0.0)):
        logits = torch.zeros(1, 3, requires_grad=True)
        loss(logits, torch.tensor([1])).backward()
        assert logits.grad[0, 2] == pytest.approx(float(logits.grad[0, 0])) and logits.grad[0, 0] > 0


@pytest.mark.parametrize("name", ["weighted", "effective_number", "balanced_softmax", "logit_adjusted"])
def test_rare_classes_win_where_the_network_has_no_evidence(name: str) -> None:
    # The same image in all classes, by their frequency: what plain cross-entropy learns is that frequency.
    counts = [8, 4, 1]
    targets = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    logits = torch.zeros(3, requires_grad=True)
    loss, optimizer = LOSSES[name](counts), torch.optim.SGD([logits], lr=0.5)
    for _ in range(500):
        optimizer.zero_grad()
        loss(logits.expand(len(targets), 3), targets).backward()
        optimizer.step()
    plain = torch.tensor(counts) / 13
    assert logits.softmax(dim=0)[2] > plain[2] + 0.02


def test_a_training_with_balanced_softmax_ends_where_all_classes_are_alike() -> None:
    counts = [8, 4, 1]
    targets = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    for loss in (BalancedSoftmax(counts, 0.0), WeightedCrossEntropy(counts, 1.0, None, 0.0)):
        logits = torch.tensor([1.0, 0.0, -1.0], requires_grad=True)
        optimizer = torch.optim.LBFGS([logits], max_iter=200)

        def closure(
            loss: nn.Module = loss, logits: Tensor = logits, optimizer: torch.optim.LBFGS = optimizer
        ) -> Tensor:
            optimizer.zero_grad()
            value: Tensor = loss(logits.expand(len(targets), 3), targets)
            value.backward()
            return value

        optimizer.step(closure)
        assert logits.detach().softmax(dim=0).tolist() == pytest.approx([1 / 3] * 3, abs=1e-3)


def test_half_precision_logits_give_the_loss_in_32_bits() -> None:
    for name, make in LOSSES.items():
        half = LOGITS.to(torch.bfloat16)
        assert value_of(make(COUNTS), half) == pytest.approx(value_of(make(COUNTS), half.float())), name


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WeightedCrossEntropy(COUNTS, None, None, 0.1), "neither loss.exponent nor loss.beta"),
        (lambda: WeightedCrossEntropy(COUNTS, 1.0, 0.9, 0.1), "exclude each other"),
        (lambda: WeightedCrossEntropy(COUNTS, 3.0, None, 0.1), r"loss\.exponent=3\.0 must be a number, 0 to 2"),
        (lambda: WeightedCrossEntropy(COUNTS, 1.0, None, 1.5), r"loss\.label_smoothing=1\.5 must be a number, 0 to 1"),
        (lambda: FocalLoss(-1.0), r"loss\.gamma=-1\.0 must be a number, 0 or more"),
        (lambda: FocalLoss(None), r"loss\.gamma=null must be a number"),
        (lambda: LogitAdjustedCrossEntropy(COUNTS, "a", 0.0), r"loss\.tau=a must be a number"),
        (lambda: BalancedSoftmax(COUNTS, -0.1), r"loss\.label_smoothing=-0\.1 must"),
        (lambda: LDAMLoss(COUNTS, -1.0, 30.0, 0.8, 0.9), r"loss\.max_margin=-1\.0 must"),
        (lambda: LDAMLoss(COUNTS, 0.5, 30.0, 2.0, 0.9), r"loss\.reweight_from=2\.0 must be a number, 0 to 1"),
        (lambda: LDAMLoss(COUNTS, 0.5, 30.0, 0.8, 1.0), r"loss\.beta=1\.0 must be below 1"),
    ],
)
def test_settings_that_can_not_be_are_one_sentence(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
