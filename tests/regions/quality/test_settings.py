from dataclasses import replace

from activessf.regions.filtering import RegionFilter
from activessf.regions.quality.settings import filter_settings

PURPLE = {"name": "purple", "hue": [100, 160], "saturation": [70, 255], "value": [0, 255]}
MOST = RegionFilter("none", None, 5, 1.0, 20, 10, [PURPLE], 9, True, 70, None, 0.5, False, 0, None, 0)


def test_the_settings_of_most_slides_stand_once_and_of_others_what_differs() -> None:
    filters = dict.fromkeys(["a", "b", "c"], MOST) | {"d": replace(MOST, max_size=90, fill_holes=False)}
    common, own = filter_settings(filters, filters.__getitem__)
    spelled = dict(common)
    assert spelled["stain_ranges"] == "purple, hue 100-160, saturation 70-255, value 0-255"
    assert (spelled["min_size"], spelled["max_size"], spelled["fill_holes"], spelled["margin"]) == (
        "70", "none", "on", "0"
    )  # fmt: skip
    assert own == [("d", "fill_holes: off, max_size: 90")]
