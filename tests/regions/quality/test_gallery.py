import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from activessf.regions.quality.gallery import choose_fields


def table(regions: list[int], rejected: list[int]) -> pd.DataFrame:
    names = [f"s{number}" for number in range(len(regions))]
    return pd.DataFrame({"image": names, "regions": regions, "rejected": rejected})


def test_the_sample_holds_slides_with_most_with_none_with_most_rejected_and_any() -> None:
    slides = table([5, 0, 9, 1, 0, 2, 2, 2, 0, 3], [0, 3, 1, 8, 0, 2, 9, 1, 0, 0])
    failures = pd.DataFrame({"image": ["broken"], "reason": ["it is"]})
    chosen = choose_fields(slides, failures, ["broken", "s7"], 8, np.random.default_rng(0))
    kinds = {kind: [image for image in chosen if chosen[image] == kind] for kind in chosen.values()}
    assert list(kinds) == ["Named", "Most regions", "No region", "Most rejected", "Drawn at random"]
    assert kinds["Named"] == ["broken", "s7"] and kinds["Most regions"] == ["s2", "s0"]
    assert len(kinds["No region"]) == 2 and set(kinds["No region"]) < {"s1", "s4", "s8"}
    assert kinds["Most rejected"] == ["s6", "s3"] and len(kinds["Drawn at random"]) == 2
    assert len(chosen) == 10


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30),
    number=st.integers(0, 40),
    seed=st.integers(0, 99),
)
def test_as_many_slides_are_chosen_as_asked_for_or_all(counts: list[tuple[int, int]], number: int, seed: int) -> None:
    slides = table([first for first, _ in counts], [second for _, second in counts])
    failures = pd.DataFrame({"image": [], "reason": []}, dtype=str)
    chosen = choose_fields(slides, failures, [], number, np.random.default_rng(seed))
    assert len(chosen) == min(number, len(slides)) and set(chosen) <= set(slides["image"])
    shuffled = slides.sample(frac=1, random_state=seed)
    assert choose_fields(shuffled, failures, [], number, np.random.default_rng(seed)) == chosen
