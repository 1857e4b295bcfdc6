"""Head, medium and tail: classes with many, some and few labeled cells."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class LongTail:
    """The classes in three parts.

    Attributes:
        head: Classes with many cells.
        medium: Classes between.
        tail: Classes with few.
        rule: How they were told apart, a sentence for readers.
    """

    head: tuple[str, ...]
    medium: tuple[str, ...]
    tail: tuple[str, ...]
    rule: str

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """The classes of each part."""
        return {"head": self.head, "medium": self.medium, "tail": self.tail}


def long_tail(counts: Mapping[str, int], rare: Collection[str], common: Collection[str]) -> LongTail:
    """Sort classes into head, medium and tail.

    The data set's own marks decide where it has any: common classes are the head, rare ones the tail. Else the classes,
    sorted by their cells, are cut into terciles, of which the middle one takes what is left over.

    Args:
        counts: Labeled cells of each class, of all folds together; classes without any are in no part.
        rare: Classes that the data set marks as rare.
        common: Classes that it marks as common.
    """
    known = sorted((name for name in counts if counts[name]), key=lambda name: -counts[name])
    if any(name in rare or name in common for name in known):
        head = [name for name in known if name in common and name not in rare]
        tail = [name for name in known if name in rare]
        medium = [name for name in known if name not in head and name not in tail]
        rule = "The data set's common classes are the head, its rare ones the tail, all others medium"
    else:
        size = max(1, len(known) // 3) if len(known) > 1 else len(known)
        head = known[:size]
        tail = known[max(size, len(known) - size) :]
        medium = known[size : len(known) - len(tail)]
        rule = "Classes sorted by their labeled cells and cut into terciles"
    return LongTail(tuple(head), tuple(medium), tuple(tail), rule)
