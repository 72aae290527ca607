"""A copy of the golden checkpoint, to be spoilt."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from alpamayo_export.checkpoint import open_checkpoint
from alpamayo_export.errors import ExportError
from safetensors.torch import load_file, save_file

Edit = Callable[[Any], object]


@dataclass(frozen=True)
class CheckpointCopy:
    folder: Path

    @classmethod
    def make(cls, checkpoint: Path, folder: Path) -> "CheckpointCopy":
        return cls(Path(shutil.copytree(checkpoint, folder / "checkpoint")))

    @property
    def vlm(self) -> Path:
        return self.folder / "vlm"

    def edit_config(self, edit: Edit, file: str = "config.json") -> "CheckpointCopy":
        with edited_json(self.folder / file) as config:
            edit(config)
        return self

    def edit_weights(self, edit: Edit) -> "CheckpointCopy":
        path = self.folder / "model.safetensors"
        tensors = load_file(path)
        edit(tensors)
        save_file(tensors, path)
        return self

    def shard(self, names: Callable[[str], str]) -> "CheckpointCopy":
        """Splits the weights into one file for every value of `names(tensor)`, with an index."""
        tensors = load_file(self.folder / "model.safetensors")
        (self.folder / "model.safetensors").unlink()
        shards = sorted({names(name) for name in tensors})
        for shard in shards:
            save_file({name: x for name, x in tensors.items() if names(name) == shard}, self.folder / shard)
        index = {"metadata": {}, "weight_map": {name: names(name) for name in tensors}}
        (self.folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return self

    def refusal(self) -> str:
        with pytest.raises(ExportError) as refused:
            open_checkpoint(str(self.folder))
        return str(refused.value)


def put(value: Any, *path: Any) -> Edit:
    """An edit: config[path] = value."""

    def edit(config: Any) -> None:
        for key in path[:-1]:
            config = config[key]
        config[path[-1]] = value

    return edit


def drop(*path: Any) -> Edit:
    """An edit: del config[path]."""

    def edit(config: Any) -> None:
        for key in path[:-1]:
            config = config[key]
        del config[path[-1]]

    return edit


@contextmanager
def edited_json(path: Path) -> Iterator[Any]:
    value = json.loads(path.read_text())
    yield value
    path.write_text(json.dumps(value))
