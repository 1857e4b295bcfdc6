"""Groups (patients, slides) read from file names by a regular expression."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from activessf.errors import InputError


class GroupPattern:
    r"""Finds the group in the path of an image.

    Args:
        pattern: Regular expression that is searched for; its first pair of brackets holds the group, e.g. `^([^_]+)_`
            for `patient7_0012.png`.

    Raises:
        InputError: The pattern is no regular expression or has no brackets.
    """

    def __init__(self, pattern: str) -> None:
        try:
            self._compiled = re.compile(pattern)
        except re.error as error:
            raise InputError(f"data.group_pattern={pattern!r} is no regular expression: {error}.") from error
        if not self._compiled.groups:
            raise InputError(
                f"data.group_pattern={pattern!r} needs one pair of brackets, round the group; it has none."
            )

    def of(self, image: str, folder: str) -> str:
        """The group of an image, from its path below a folder.

        Raises:
            InputError: The pattern does not fit.
        """
        group = self._find(image, folder)
        if not group:
            raise InputError(
                f"data.group_pattern={self._compiled.pattern!r} finds no group in {image!r}; make it fit all names."
            )
        return group

    def known(self, images: Iterable[str], folder: str) -> dict[str, str]:
        """Groups of the images whose path below a folder the pattern fits."""
        found = {image: self._find(image, folder) for image in images}
        return {image: group for image, group in found.items() if group}

    def _find(self, image: str, folder: str) -> str | None:
        match = self._compiled.search(posixpath.relpath(image, folder))
        return match[1] if match is not None else None
