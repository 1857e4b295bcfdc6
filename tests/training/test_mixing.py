import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, kstest
from torch.nn.functional import cross_entropy

from activessf.training.mixing import Mixing

CLASSES = 7


def batch(number: int, size: int = 12, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose pixels are all different, and classes that differ from those of the partner."""
    torch.manual_seed(seed)
    return torch.randn(number, 3, size, size, dtype=torch.float64), torch.arange(number) % CLASSES


def share_of(mixed: torch.Tensor, own: int) -> float:
    return float(mixed[own])


@given(st.integers(0, 10**6), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_mixup_is_the_weighted_mean_of_an_image_and_its_partner_and_so_are_the_classes(number, seed):
    images, targets = batch(6)
    found, classes = Mixing(0.8, 0.0, CLASSES, seed)(images, targets, number)
    share = share_of(classes[0], 0)
    for row in range(6):
        partner = 5 - row
        torch.testing.assert_close(found[row], share * images[row] + (1 - share) * images[partner])
        expected = np.zeros(CLASSES)
        expected[row] += share
        expected[partner] += 1 - share
        np.testing.assert_allclose(classes[row], expected, atol=1e-12)


@given(st.integers(0, 10**6), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_cutmix_pastes_one_rectangle_and_the_classes_have_the_shares_of_the_pixels(number, seed):
    images, targets = batch(4)
    found, classes = Mixing(0.0, 1.0, CLASSES, seed)(images, targets, number)
    for row in range(4):
        pasted = (found[row] != images[row]).all(dim=0)
        assert torch.equal(found[row][:, pasted], images[3 - row][:, pasted])
        assert torch.equal(found[row][:, ~pasted], images[row][:, ~pasted])
        rows, columns = np.nonzero(pasted.any(dim=1).numpy())[0], np.nonzero(pasted.any(dim=0).numpy())[0]
        if len(rows):
            box = pasted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert box.all() and len(rows) * len(columns) == int(pasted.sum())
        assert share_of(classes[row], row) == pytest.approx(1 - float(pasted.double().mean()), abs=1e-6)
        assert float(classes[row].sum()) == pytest.approx(1)


def test_the_shares_of_mixup_are_drawn_from_the_beta_distribution():
    images, targets = batch(2, size=1)
    mix = Mixing(0.4, 0.0, CLASSES, 3)
    shares = [share_of(mix(images, targets, number)[1][0], 0) for number in range(2000)]
    assert kstest(shares, beta(0.4, 0.4).cdf).pvalue > 0.01
    assert kstest(shares, beta(1.0, 1.0).cdf).pvalue < 0.01  # it would be noticed


def test_the_area_that_cutmix_pastes_is_the_drawn_share_where_nothing_sticks_out():
    # Beta(400, 400) draws about a half: a square of sqrt(1/2) of the side, cut off unless it is near the middle.
    images, targets = batch(2, size=100)
    mix = Mixing(0.0, 400.0, CLASSES, 0)
    largest = max(1 - share_of(mix(images, targets, number)[1][0], 0) for number in range(300))
    assert largest == pytest.approx(0.5, abs=0.06)


def test_with_both_on_a_batch_has_either_as_often():
    images, targets = batch(2)
    mix = Mixing(0.8, 1.0, CLASSES, 0)
    cut = 0
    for number in range(400):
        found, _ = mix(images, targets, number)
        cut += bool((found[0] == images[0]).any() or (found[0] == images[1]).any())
    assert 160 < cut < 240  # four deviations of a coin


def test_what_is_drawn_depends_on_seed_and_number_alone():
    images, targets = batch(4)
    first = Mixing(0.8, 1.0, CLASSES, 0)(images, targets, 5)
    np.random.seed(1)
    torch.manual_seed(9)
    again = Mixing(0.8, 1.0, CLASSES, 0)(images, targets, 5)
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], Mixing(0.8, 1.0, CLASSES, 0)(images, targets, 6)[0])
    assert not torch.equal(first[0], Mixing(0.8, 1.0, CLASSES, 1)(images, targets, 5)[0])
    assert torch.equal(images, batch(4)[0])  # the batch itself stays


def test_the_middle_image_of_an_odd_batch_stays_as_it_is():
    images, targets = batch(5)
    for mix in (Mixing(0.8, 0.0, CLASSES, 0), Mixing(0.0, 1.0, CLASSES, 0)):
        found, classes = mix(images, targets, 1)
        torch.testing.assert_close(found[2], images[2])
        assert classes[2].tolist() == pytest.approx([0, 0, 1, 0, 0, 0, 0])


def test_the_smoothed_loss_is_the_weighted_mean_of_the_losses_of_both_classes():
    images, targets = batch(4)
    _, classes = Mixing(0.8, 0.0, CLASSES, 0)(images, targets, 2)
    logits, share = torch.randn(4, CLASSES, dtype=torch.float64), share_of(classes[0], 0)
    own, other = (cross_entropy(logits, which, label_smoothing=0.1) for which in (targets, targets.flip(0)))
    torch.testing.assert_close(cross_entropy(logits, classes, label_smoothing=0.1), share * own + (1 - share) * other)
