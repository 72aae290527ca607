"""A folder of scenes, each an `.npz` as `Scene.save` writes it."""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from zipfile import ZipFile

from ..errors import InvalidRequestError
from ..scene import Scene, open_npz
from .source import SceneKey, Source


class NpzFolder(Source):
    """Every `.npz` in a folder, by name; folders in it are not looked into."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder).resolve()

    @property
    def identity(self) -> Mapping[str, str | None]:
        """See Source."""
        return {"folder": str(self._folder)}

    @cached_property
    def keys(self) -> list[SceneKey]:
        """See Source. Raises InvalidRequestError if there is none, or a name is no text."""
        paths = list(self._folder.glob("*.npz"))
        if not paths:
            what = "holds no .npz file" if self._folder.is_dir() else "is not a folder"
            raise InvalidRequestError(f"{self._folder} {what}; wanted a folder of scenes written by Scene.save")
        for path in paths:
            _check_utf8(path)
        return [SceneKey(name, None) for name in sorted(path.stem for path in paths)]

    def fingerprint(self, key: SceneKey) -> str:
        """See Source: of the checksums that an archive keeps of its arrays, so that these need not be read."""
        with open_npz(self._path(key)) as file, ZipFile(file) as archive:
            arrays = sorted((array.filename, array.CRC, array.file_size) for array in archive.infolist())
        return hashlib.sha256(repr(arrays).encode()).hexdigest()

    def load(self, key: SceneKey) -> Scene:
        """See Source."""
        return Scene.load(self._path(key))

    def _path(self, key: SceneKey) -> Path:
        return self._folder / f"{key.scene_id}.npz"


def _check_utf8(path: Path) -> None:
    """Names go into files of text."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"{str(path)!r} is not UTF-8: rename it") from error
