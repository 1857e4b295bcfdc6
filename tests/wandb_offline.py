"""Offline W&B runs read back from the log that W&B writes.

It has 32 KiB blocks of records with a header of CRC (4 bytes), length (2) and kind (1: whole, 2: first part, 3: middle,
4: last), after seven bytes that name the format.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import wandb
from wandb.proto import wandb_internal_pb2

_BLOCK, _HEADER = 32768, 7
_WHOLE, _FIRST, _LAST = 1, 2, 4


def log_records(path: Path) -> Iterator[Any]:
    data = path.read_bytes()
    assert data.startswith(b":W&B")
    at, parts = _HEADER, b""
    while at + _HEADER <= len(data):
        left_in_block = _BLOCK - at % _BLOCK
        if left_in_block < _HEADER:
            at += left_in_block
            continue
        crc, length, kind = struct.unpack_from("<IHB", data, at)
        body = data[at + _HEADER : at + _HEADER + length]
        assert zlib.crc32(bytes([kind]) + body) == crc
        at += _HEADER + length
        parts = body if kind in (_WHOLE, _FIRST) else parts + body
        if kind in (_WHOLE, _LAST):
            record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]  # made at run time
            record.ParseFromString(parts)
            yield record


def values(items: Any) -> dict[str, Any]:
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def offline_runs(directory: Path) -> dict[str, dict[str, Any]]:
    """What all offline runs below `directory/wandb` hold, by name: id, group, project, config, history, summary,
    folder."""
    # The service writes the end of a run's file only after `wandb.finish()` has returned, on a busy machine much later.
    wandb.teardown()
    runs = {}
    for path in (directory / "wandb").glob("offline-run-*/run-*.wandb"):
        config: dict[str, Any] = {}
        summary: dict[str, Any] = {}
        history, started = [], None
        for record in log_records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                started = started or record.run
                config |= values(record.run.config.update)
            elif kind == "config":
                config |= values(record.config.update)
            elif kind == "history":
                history.append(values(record.history.item))
            elif kind == "summary":
                summary |= values(record.summary.update)
        assert started is not None and started.display_name not in runs
        runs[started.display_name] = {
            "id": started.run_id, "group": started.run_group, "project": started.project, "kind": started.job_type,
            "config": config, "history": history, "summary": summary, "folder": path.parent,
        }  # fmt: skip
    return runs


def logged(run: dict[str, Any]) -> dict[str, Any]:
    """The last value of every name in the history of a run."""
    return {name: value for row in run["history"] for name, value in row.items()}


def table(run: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """A logged table, one row a dictionary."""
    content = json.loads((run["folder"] / "files" / logged(run)[f"{name}.path"]).read_text())
    return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]
