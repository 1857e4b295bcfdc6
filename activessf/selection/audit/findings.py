"""What stands out in an audit, in sentences: what a reader should look at first."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from activessf.selection.audit.decided import Decided

_IMPURE = 0.5  # purity
_CROWDED = 0.3  # share of the candidates
_TIMES = 3  # that share over the share of the labeled cells


def findings(decided: Decided, mix: pd.DataFrame, truth: pd.DataFrame, planted: pd.DataFrame | None) -> list[str]:
    """Sentences on what works against the rare classes, or against trusting the tables.

    Args:
        decided: The decision.
        mix: Of `tables.mix_table`.
        truth: Of `tables.truth_table`.
        planted: Of `planted_check`.
    """
    return [
        *_on_prototypes(decided, mix),
        *_on_rare(truth, planted),
        *_on_others(decided, truth),
        *_on_trust(decided, truth),
    ]


def _on_prototypes(decided: Decided, mix: pd.DataFrame) -> Iterator[str]:
    prototypes = decided.prototypes
    if prototypes.empty:
        yield "The selection has no prototypes, so it is judged by its counts and by what truth is known."
        return
    without = mix.loc[mix["prototypes"] == 0, "class"].tolist()
    if without:
        yield f"No prototype stands for {_listed(without)}: their cells lie among prototypes of other classes."
    idle = prototypes[(prototypes["selected"] == 0) & (prototypes["candidates"] > 0)]
    for row in idle.itertuples():
        yield (
            f"Nothing is kept of the {row.candidates:,} candidates nearest to prototype {row.prototype} "
            f"({row.stands_for}, {row.size} labeled cells)."
        )
    yield from _on_crowding(decided)
    impure = int((prototypes["purity"] < _IMPURE).sum())
    if impure:
        yield f"{impure} of {len(prototypes)} prototypes have less than half of their members from one class."


def _on_crowding(decided: Decided) -> Iterator[str]:
    prototypes = decided.prototypes
    candidates = prototypes["candidates"] / max(1, int(prototypes["candidates"].sum()))
    members = prototypes["size"] / prototypes["size"].sum()
    for row in prototypes[(candidates > _CROWDED) & (candidates > _TIMES * members)].itertuples():
        yield (
            f"{candidates[row.Index]:.0%} of the candidates are nearest to prototype {row.prototype} "
            f"({row.stands_for}), which has {members[row.Index]:.0%} of the labeled cells: are both cut out alike?"
        )


def _on_rare(truth: pd.DataFrame, planted: pd.DataFrame | None) -> Iterator[str]:
    for row in truth[truth["rare"] & truth["lift"].notna()].itertuples():
        if row.lift < 1:
            yield (
                f"{row[1]} is rare and is kept less often than the average: {row.kept:,} of {row.candidates:,} "
                f"candidates ({row.recall:.0%})."
            )
    if planted is not None:
        for row in planted[planted["rare"] & (planted["planted"] > 0)].itertuples():
            if row.recall < 0.5:
                yield f"Planted cells of the rare class {row[1]} that are kept: {row.kept} of {row.planted}."


def _on_others(decided: Decided, truth: pd.DataFrame) -> Iterator[str]:
    for row in truth[
        ~truth["class"].isin(decided.classes) & (truth["kept"] > 0) & truth["precision"].notna()
    ].itertuples():
        yield f"{row.kept:,} of what is kept is no class of the labels: {row[1]} ({row.precision:.0%} of the known)."


def _on_trust(decided: Decided, truth: pd.DataFrame) -> Iterator[str]:
    if truth.empty:
        yield "No candidate has a known label, so only the planted check tells precision from hope."
    elif not truth["new_candidates"][truth["precision"].notna()].any():
        yield (
            "All candidates with a known label show cells from which the prototypes were made: their recall flatters; "
            "the planted check doesn't."
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names)
