import numpy as np

from activessf.regions.quality.drawing import resized


def test_enlarging_keeps_a_flat_image_flat_and_an_image_has_a_pixel_at_least() -> None:
    flat = np.full((5, 7, 3), 77, np.uint8)
    assert (resized(flat, 3) == 77).all() and resized(flat, 3).shape == (15, 21, 3)
    assert resized(flat, 0.01).shape == (1, 1, 3)
