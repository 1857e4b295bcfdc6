import math

from activessf.data.squares import square_round


def test_a_square_is_moved_inwards_and_no_larger_than_the_image() -> None:
    assert square_round(50, 65, 10, 100, 90) == (45, 60, 10, 10)
    assert square_round(5, 85, 40, 100, 90) == (0, 50, 40, 40)
    assert square_round(95, 5, 40, 100, 90) == (60, 0, 40, 40)
    assert square_round(8, 9, 400, 100, 90) == (0, 0, 90, 90)
    assert square_round(3, 200, 41, math.inf, math.inf) == (0, 180, 41, 41)


def test_a_corner_is_the_nearest_whole_pixel() -> None:
    assert square_round(50.4, 65.6, 10, 100, 90) == (45, 61, 10, 10)
    assert square_round(50, 65, 5, 100, 90) == (48, 63, 5, 5)  # 47.5 and 62.5
    assert square_round(50.5, 65.4, 5, 100, 90) == (48, 63, 5, 5)
