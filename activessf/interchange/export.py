"""Regions and predictions as files of other programs: `python -m activessf.interchange.export`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from activessf.errors import InputError
from activessf.exits import telling_mistakes
from activessf.interchange.coco import write_coco
from activessf.interchange.geojson import write_geojson
from activessf.interchange.tables import read_boxes, read_sizes, whole_images_filled
from activessf.interchange.voc import write_voc
from activessf.interchange.yolo import write_yolo

FORMATS = ("coco", "voc", "yolo", "geojson")
COCO_FILE = "annotations.json"

_DESCRIPTION = """\
Write the boxes that ActiveSSF found as files that other programs open.

  coco     one annotations.json: CVAT, FiftyOne, Label Studio, detectors
  voc      an XML file an image, as Pascal VOC has them
  yolo     labels/: a text file an image; classes.txt and data.yaml
  geojson  a file an image, to be dropped onto the open image in QuPath

Files have the names and subfolders of their images, as these are below data.root. What has been corrected in such a
program comes back as labeled cells by data=annotated, with data.images=. for the same paths."""
_EPILOG = """\
examples:
  python -m activessf.interchange.export outputs/stages/regions/demo-0123456789abcdef --format geojson --output qupath
  python -m activessf.interchange.export outputs/runs/RUN/fold_0/predictions.csv --root DATA --format coco --output coco
  python train.py data=annotated data.root=DATA data.images=. data.format=geojson data.annotations=$PWD/qupath"""


def export(path: Path, kind: str, output: Path, label: str | None = None, root: Path | None = None) -> str:
    """Write the boxes of a stage result or CSV file in another program's format.

    Args:
        path: A result folder of stage 1 or 2, or a CSV file with the columns image, x, y, width and height.
        kind: One of `FORMATS`.
        output: Folder to write into; must be empty or not there. It appears whole or not at all.
        label: Class of all boxes; None = the column predicted or label, else `cell`.
        root: Folder that image paths are relative to; needed only where no slides.csv tells the sizes of the images.

    Returns:
        A line for the terminal.

    Raises:
        InputError: The boxes can't be read or written, or the output is there already.
    """
    boxes = read_boxes(path, label)
    sizes = read_sizes(path, set(boxes["image"]), root)
    cells = whole_images_filled(boxes, sizes)
    with _new_folder(output) as folder:
        if kind == "coco":
            write_coco(cells, sizes, folder / COCO_FILE)
        elif kind == "voc":
            write_voc(cells, sizes, folder)
        elif kind == "yolo":
            write_yolo(cells, sizes, folder)
        else:
            write_geojson(cells, sizes, folder)
    return f"{len(cells)} boxes of {len(sizes)} images: {output}"


@telling_mistakes
def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, write the files, say where they are; 2 is a user's mistake."""
    options = _parser().parse_args(arguments)
    print(export(options.path, options.format, options.output, options.label, options.root))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m activessf.interchange.export",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "path",
        type=Path,
        metavar="FOLDER",
        help="a result folder of stage 1 (regions.csv) or stage 2 (selection.csv: the selected regions), or a CSV file "
        "with image,x,y,width,height and optionally label or predicted, such as predictions.csv",
    )
    parser.add_argument("--format", choices=FORMATS, required=True, help="what to write")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="where to write: an empty folder, or a new one"
    )
    parser.add_argument(
        "--label", metavar="NAME", help="class of all boxes (default: the column predicted or label, else cell)"
    )
    parser.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        help="folder that image paths are relative to, as in data.root=DIR; needed for a CSV file, whose images tell "
        "their sizes; stage results know them",
    )
    return parser


@contextmanager
def _new_folder(output: Path) -> Iterator[Path]:
    """Give a temporary folder beside `output` to fill; when the block ends well it takes the place of `output`."""
    partial: Path | None = None
    try:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise InputError(f"{output} is there already and not an empty folder; name another one with --output.")
        output.absolute().parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=output.absolute().parent, prefix=f".{output.name}."))
        yield partial
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o777 & ~umask)
        if output.is_dir():
            output.rmdir()
        os.rename(partial, output)
    except OSError as error:
        raise InputError(f"{output} can't be written ({error.strerror}); name another folder with --output.") from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
