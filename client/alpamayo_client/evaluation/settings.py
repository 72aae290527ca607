"""What a run asks with, so that one that goes on cannot mix two questions in one answer."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidRequestError

Settings = dict[str, Any]
"""`parameters` of the request, `model` as export recorded it; plain values."""


def keep_settings(path: Path, settings: Settings, *, begun: bool) -> None:
    """Writes them, or if a run with them has begun, checks that they are the same. Raises InvalidRequestError."""
    if begun and path.exists():
        changes = list(_changes(json.loads(path.read_text(encoding="utf-8")), settings))
        if changes:
            raise InvalidRequestError(
                f"{path.parent} holds answers that were asked for with other settings: {'; '.join(changes)}. "
                "Give the former settings, or another --output"
            )
    else:
        unfinished = path.with_name(f".{path.name}.unfinished")  # a killed run leaves the file whole, or none
        unfinished.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        os.replace(unfinished, path)


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], place: str = "") -> Iterator[str]:
    for name in sorted(old.keys() | new.keys()):
        before, now = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            yield from _changes(before, now, f"{place}{name}.")
        elif before != now:
            yield f"{place}{name} was {json.dumps(before)}, is {json.dumps(now)}"
