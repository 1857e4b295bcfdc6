"""Opening files that strangers wrote: what is wrong with one becomes one sentence that names it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn
from xml.etree import ElementTree

from activessf.errors import InputError
from activessf.interchange.cells import Malformed


@contextmanager
def naming(path: Path, kind: str) -> Iterator[None]:
    """Turn what is wrong with a file into a sentence that names it and what it should be.

    Raises:
        InputError: In place of `Malformed` and of errors of the file system.
    """
    try:
        yield
    except Malformed as error:
        raise InputError(f"{path} can't be read as {kind}: {error}.") from error
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; it should be {kind}.") from error
    except OSError as error:
        raise InputError(f"{path} can't be opened: {error.strerror}.") from error


def text_of(path: Path) -> str:
    """A UTF-8 text file, without the byte order mark that Windows programs put first.

    Raises:
        Malformed: It is not UTF-8.
        OSError: It can't be opened.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Malformed(f"its byte {error.start} is not UTF-8 text; save it as UTF-8") from error


def json_of(path: Path) -> Any:
    """The value of a JSON file; it may hold NaN, as QuPath writes it for a measurement that failed.

    Raises:
        Malformed: It is no JSON, or nested too deeply.
        OSError: It can't be opened.
    """
    text = text_of(path)
    if not text.strip():
        raise Malformed("it is empty")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise Malformed("it is nested too deeply") from error
    except ValueError as error:
        raise Malformed(f"it is no JSON ({error})") from error


def xml_of(path: Path) -> ElementTree.Element:
    """The root of an XML file; one that declares a document type is refused before its entities are read.

    Raises:
        Malformed: It is no XML, or has a DOCTYPE.
        OSError: It can't be opened.
    """
    parser = ElementTree.XMLParser(target=_WithoutDocumentType())
    try:
        parser.feed(path.read_bytes())
        root = parser.close()
    except Malformed:
        raise
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: of encodings
        raise Malformed(f"it is no XML ({error})") from error
    assert isinstance(root, ElementTree.Element)
    return root


def objects(value: Any, what: str) -> list[dict[str, Any]]:
    """A JSON list of objects.

    Raises:
        Malformed: It is none.
    """
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Malformed(f"{what} is no list of objects")
    return value


def warn_left_out(number: int, what: str) -> None:
    """Say that something in the files is not used."""
    if number:
        warnings.warn(f"{number} {what}", stacklevel=3)


class _WithoutDocumentType(ElementTree.TreeBuilder):
    def doctype(self, *_: object) -> NoReturn:
        raise Malformed("it declares a document type (DOCTYPE), whose entities could be endless; take that line out")
