"""Sentences with places for settings; one that lacks a setting is left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

Settings = Mapping[str, Any]

_PLACE = re.compile(r"\{([\w./]+)(%?)\}")


def filled(text: str, settings: Settings) -> str:
    """A text with its places filled in; the empty string if a setting is missing or null.

    Args:
        text: `{key}` is the setting's value, `{key%}` a share in percent.
        settings: Flat, by dotted name.
    """
    places = _PLACE.findall(text)
    if any(settings.get(key) is None for key, _ in places):
        return ""
    return _PLACE.sub(lambda match: _percent(settings[match[1]]) if match[2] else shown(settings[match[1]]), text)


def first_filled(texts: Iterable[str], settings: Settings) -> str:
    """The first of several ways to say something for which the settings suffice."""
    return next((text for text in (filled(text, settings) for text in texts) if text), "")


def joined(*parts: str) -> str:
    """Sentences, or parts of one, with a space between; empty ones are left out."""
    return " ".join(part for part in parts if part)


def listed(items: Iterable[object], last: str = "and") -> str:
    """`a, b and c`."""
    texts = [str(item) for item in items]
    return f" {last} ".join(filter(None, [", ".join(texts[:-1]), *texts[-1:]]))


def counted(number: float, noun: str) -> str:
    """A number and its noun: `1 fold`, `1,234 folds`."""
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}"


def spanned(numbers: Iterable[float]) -> str:
    """The range of some whole numbers: `200`, or `187 to 211`."""
    known = sorted(numbers)
    low, high = f"{known[0]:,.0f}", f"{known[-1]:,.0f}"
    return low if low == high else f"{low} to {high}"


def duration(seconds: float) -> str:
    """Seconds as people say them: `42 seconds`, `12 minutes`, `3.4 hours`."""
    if seconds < 90:
        return counted(round(seconds), "second")
    if seconds < 5400:
        return counted(round(seconds / 60), "minute")
    return f"{seconds / 3600:,.1f} hours"


def shown(value: Any) -> str:
    """A setting's value in a text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:g}".replace("e-0", "e-")
    if isinstance(value, list | tuple):
        return " and ".join(map(shown, value))
    return str(value)


def _percent(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " to ".join(f"{100 * item:g}" for item in value)
    return f"{100 * value:g}"
