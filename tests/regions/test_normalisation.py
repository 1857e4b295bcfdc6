import cv2
import numpy as np
import pytest

from activessf.errors import InputError
from activessf.regions.normalisation import Illumination, check_normalisation, normalise

IMAGE = np.random.default_rng(1).integers(40, 200, (20, 30, 3), dtype=np.uint8)


def test_minmax_equals_the_formula_and_keeps_a_flat_channel() -> None:
    image = IMAGE.copy()
    image[..., 1] = 77
    result = normalise(image, "minmax", None)
    for channel in (0, 2):
        values = image[..., channel].astype(float)
        expected = np.rint((values - values.min()) / (values.max() - values.min()) * 255)
        np.testing.assert_array_equal(result[..., channel], expected)
    assert (result[..., 1] == 77).all()


def test_gray_world_gives_all_channels_one_mean() -> None:
    tinted = (IMAGE * np.array([0.6, 1.0, 0.8])).astype(np.uint8)
    np.testing.assert_allclose(np.ptp(normalise(tinted, "gray_world", None).reshape(-1, 3).mean(axis=0)), 0, atol=0.5)
    assert (normalise(np.zeros((3, 3, 3), np.uint8), "gray_world", None) == 0).all()


def test_reinhard_gives_the_reference_statistics() -> None:
    gentle = (110 + (IMAGE.astype(int) - 120) // 8).astype(np.uint8)
    result = normalise(gentle, "reinhard", {"mean": [60.0, 10.0, -10.0], "std": [5.0, 3.0, 3.0]})
    lab = cv2.cvtColor(result.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    np.testing.assert_allclose(lab.mean(axis=0), [60, 10, -10], atol=0.5)
    np.testing.assert_allclose(lab.std(axis=0), [5, 3, 3], atol=0.5)


def test_reinhard_moves_a_flat_image_without_noise() -> None:
    result = normalise(np.full((4, 4, 3), 90, np.uint8), "reinhard", {"mean": [60.0, 0.0, 0.0], "std": [5.0, 3.0, 3.0]})
    assert len(np.unique(result.reshape(-1, 3), axis=0)) == 1


def test_none_changes_nothing() -> None:
    assert normalise(IMAGE, "none", None) is IMAGE


def test_unknown_method_and_missing_reference_are_refused() -> None:
    with pytest.raises(InputError, match="choose one of minmax, gray_world, reinhard, none"):
        check_normalisation("macenko", None)
    for reference in (None, {"mean": [1, 2], "std": [1, 1, 1]}, {"mean": [1, 2, 3], "std": [1, 0, 1]}):
        with pytest.raises(InputError, match="reinhard needs a reference"):
            check_normalisation("reinhard", reference)


@pytest.mark.parametrize("method", ["minmax", "gray_world", "reinhard", "none"])
def test_an_image_seen_in_pieces_is_normalised_as_one(method: str) -> None:
    reference = {"mean": [60.0, 10.0, -10.0], "std": [5.0, 3.0, 3.0]}
    pieces = Illumination(method, reference)
    for piece in (IMAGE[13:], IMAGE[:7], IMAGE[7:13]):
        pieces.add(piece)
    whole = normalise(IMAGE, method, reference)
    joined = np.concatenate([pieces.normalise(IMAGE[:9]), pieces.normalise(IMAGE[9:])])
    np.testing.assert_allclose(joined.astype(int), whole.astype(int), atol=0 if method != "reinhard" else 1)
    assert Illumination("none", None).needs_pixels is False and pieces.needs_pixels is (method != "none")
