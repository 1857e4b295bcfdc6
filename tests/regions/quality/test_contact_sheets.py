import numpy as np

from activessf.regions.quality.contact_sheets import Thumbnail, contact_sheet
from activessf.regions.quality.drawing import REJECTED


def pixels_of(colour: tuple[int, int, int], picture: np.ndarray) -> np.ndarray:
    return np.asarray((picture == colour).all(axis=2))


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the pixels that are set, the last two not included."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def test_crops_on_a_contact_sheet_share_one_scale_and_are_not_stretched() -> None:
    sizes = [(40, 40), (20, 40), (40, 20), (58, 10)]
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 0, 200)]
    crops = [
        np.full((height, width, 3), colour, np.uint8) for (width, height), colour in zip(sizes, colours, strict=True)
    ]
    sheet = contact_sheet([Thumbnail(crop, ("", "")) for crop in crops], side=58)
    for (width, height), colour in zip(sizes, colours, strict=True):
        left, top, right, bottom = extent(pixels_of(colour, sheet))
        assert (right - left, bottom - top) == (2 * width, 2 * height)  # a cell is 116 px


def test_of_a_crop_larger_than_a_cell_the_middle_is_shown_and_a_missing_one_leaves_a_note() -> None:
    crop = np.zeros((100, 300, 3), np.uint8)
    crop[:, 121:179] = (200, 0, 0)
    sheet = contact_sheet([Thumbnail(crop, ("300x100", "")), Thumbnail(None, ("9x9", ""))], side=58)
    assert extent(pixels_of((200, 0, 0), sheet)) == (8, 8, 124, 124)
    other = sheet[8:124, 132:248]
    assert len(np.unique(other.reshape(-1, 3), axis=0)) > 2, "a note, not an empty cell"


def test_the_box_on_a_contact_sheet_is_where_it_is_in_the_piece() -> None:
    sheet = contact_sheet([Thumbnail(np.full((58, 58, 3), 255, np.uint8), ("", ""), (10, 20, 28, 14))], side=58)
    left, top, right, bottom = extent(pixels_of(REJECTED, sheet[:124]))
    assert (left, top) == (8 + 20, 8 + 40) and 8 + 76 - 7 <= right <= 8 + 76 and 8 + 68 - 7 <= bottom <= 8 + 68
