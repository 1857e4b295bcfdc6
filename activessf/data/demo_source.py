"""`data=demo`: made-up slides, written on first use and shared by all runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from activessf.artifacts import artifact
from activessf.data.demo import DEMO_CLASSES, write_demo
from activessf.data.manifest import manifest_source
from activessf.data.source import Source

# Raised when the slides that the same settings give change.
_VERSION = 1


def demo_source(output_dir: str, **settings: Any) -> Source:
    """The demo slides under `output_dir/data`, written there if they aren't yet.

    Args:
        output_dir: Folder of everything that is written.
        **settings: Of `demo.write_demo`.
    """
    inputs = {"version": _VERSION, **settings}
    folder = artifact(
        Path(output_dir), "data", "demo", inputs, lambda partial: write_demo(partial, **settings)
    ).obtain()
    return manifest_source(
        str(folder),
        "cells.csv",
        "slides",
        None,
        DEMO_CLASSES,
        rare=("CA-MK", "HL-MK"),
        common=("G-MK",),
        truth="truth.csv",
    )
