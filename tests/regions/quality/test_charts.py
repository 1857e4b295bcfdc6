import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from activessf.regions.quality.charts import histogram


@settings(max_examples=100, deadline=None)
@given(
    kept=st.lists(st.integers(1, 10**5), max_size=60),
    rejected=st.lists(st.integers(1, 300), max_size=60),
    bound=st.integers(1, 500),
)
def test_a_histogram_counts_every_value_once_and_in_its_own_bar(
    kept: list[int], rejected: list[int], bound: int
) -> None:
    chart = histogram("", pd.Series(kept, dtype=float), pd.Series(rejected, dtype=float), [("bound", bound)])
    assert (sum(chart.kept), sum(chart.rejected)) == (len(kept), len(rejected))
    assert 0 <= bound <= chart.edges[-1] and len(chart.edges) == len(chart.kept) + 1 == len(chart.rejected) + 1
    assert len(chart.kept) <= 40
    for values, counts in ((kept, chart.kept), (rejected, chart.rejected)):
        bars = list(zip(chart.edges, chart.edges[1:], strict=False))
        assert counts[:-1] == [sum(low <= value < high for value in values) for low, high in bars[:-1]]


def test_a_fill_rate_at_the_bound_stands_right_of_it() -> None:
    values = pd.Series([0.7, 0.7, 1.0, 0.65])
    chart = histogram("Fill rate", values, None, [("min_fill_rate", 0.7)], 0.01, 1.0)
    counts = {round(edge, 6): count for edge, count in zip(chart.edges, chart.kept, strict=False) if count}
    assert counts == {0.65: 1, 0.7: 2, 0.95: 1} and chart.edges[-1] == 1 and not chart.note
