"""What was answered, on disk before the next scene is asked for."""

import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidRequestError
from .source import SceneKey


class Journal:
    """Rows as JSON lines; a later row of the same scene replaces an earlier one. One process at a time.

    A process that is killed loses nothing but the line that it was writing.
    """

    def __init__(self, path: Path) -> None:
        """Opens what is there, or begins anew. Raises InvalidRequestError if another process has it."""
        self._file = open(path, "a+b")  # noqa: SIM115  # closed by close()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise InvalidRequestError(f"{path} is being written by another run: wait for it, or stop it") from error
        self._places: dict[SceneKey, int] = {}
        self._answered: dict[SceneKey, str] = {}
        self._failed: dict[SceneKey, str] = {}
        self.begun = False
        """It holds an answer, be it one that is forgotten."""
        self._read()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    @property
    def answered(self) -> Mapping[SceneKey, str]:
        """Scenes that need not be asked for again, and the fingerprint that each had."""
        return dict(self._answered)

    @property
    def failed(self) -> dict[SceneKey, str]:
        """Scenes that could not be read, or were not answered, and why."""
        return dict(self._failed)

    def append(self, row: dict[str, Any]) -> None:
        """Returns when the system has it. Raises OSError, such as of a disk that is full."""
        place = self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()
        self._note(place, row)

    def forget(self, key: SceneKey) -> None:
        """Its row is of another scene than what `key` is now."""
        del self._places[key]
        self._answered.pop(key, None)
        self._failed.pop(key, None)

    def rows(self, keys: Collection[SceneKey]) -> Iterator[dict[str, Any]]:
        """The last row of each of these scenes that has one, by scene and time."""
        for key in sorted(self._places.keys() & set(keys), key=lambda key: (key.scene_id, key.t0_us or 0)):
            self._file.seek(self._places[key])
            yield json.loads(self._file.readline())

    def _note(self, place: int, row: dict[str, Any]) -> None:
        key = SceneKey(row["scene_id"], row["t0_us"])
        self._answered.pop(key, None)
        self._failed.pop(key, None)
        if row["error"] is None:
            self._answered[key] = row["fingerprint"]
            self.begun = True
        else:
            self._failed[key] = row["error"]
        self._places[key] = place

    def _read(self) -> None:
        """Notes what is there, and cuts off a line that a killed process has left half written."""
        self._file.seek(0)
        place = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            try:
                self._note(place, json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                name = self._file.name
                self._file.close()
                raise InvalidRequestError(f"{name}: no row of alpamayo evaluate at byte {place}: {error!r}") from error
            place += len(line)
        self._file.truncate(place)
