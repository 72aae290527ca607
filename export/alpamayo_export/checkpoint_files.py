"""The files of a checkpoint: found, hashed, their weights compared with what is expected, and read tensor by tensor."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from tqdm import tqdm

from alpamayo_export.errors import ExportError
from alpamayo_export.hub import fetch, is_hub_id

Shapes = Mapping[str, tuple[int, ...]]

_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # safetensors' names, bytes of an element
_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True)
class Source:
    """Where a model's files lie, and what it is called: its folder's name, or OWNER/MODEL@COMMIT of the hub."""

    folder: Path
    name: str


def find_source(name_or_path: str, what: str, patterns: Sequence[str], relative_to: Path | None = None) -> Source:
    """The folder `name_or_path`, or else the model of that name on the Hugging Face hub.

    Args:
        name_or_path: of a folder, or OWNER/MODEL, or OWNER/MODEL@REVISION.
        what: it is, for messages.
        patterns: of the files that are wanted from the hub.
        relative_to: where the folder is looked for first.

    Raises:
        ExportError: there is none, or it cannot be fetched.
    """
    candidates = [relative_to / name_or_path] if relative_to else []
    candidates.append(Path(name_or_path).expanduser())
    for folder in candidates:
        if folder.is_dir():
            return Source(folder, folder.resolve().name)
    nowhere = f"no folder {' and '.join(map(str, candidates))} ({what})"
    if not is_hub_id(name_or_path):
        raise ExportError(nowhere)
    try:
        snapshot = fetch(name_or_path, patterns)
    except ExportError as error:
        raise ExportError(f"{nowhere}; {error}") from error
    return Source(snapshot, f"{name_or_path.partition('@')[0]}@{snapshot.name}")


@dataclass(frozen=True)
class Weights:
    """Where every tensor of a checkpoint lies; shards are opened memory-mapped, one at a time."""

    folder: Path
    shard_of: Mapping[str, str]

    @classmethod
    def find(cls, folder: Path) -> "Weights":
        """Reads `model.safetensors.index.json`, or takes every `*.safetensors` of the folder."""
        index = folder / "model.safetensors.index.json"
        shards = _shards(index) if index.exists() else sorted(path.name for path in folder.glob("*.safetensors"))
        if not shards:
            raise ExportError(f"{folder} holds no *.safetensors")
        if absent := [name for name in shards if not (folder / name).exists()]:
            raise ExportError(
                f"{folder} is not whole: {', '.join(absent)} of its index is not there. Copy it again; a model of the "
                "hub is fetched as far as it is missing when HF_HUB_OFFLINE is not set"
            )
        shard_of: dict[str, str] = {}
        for shard in shards:
            with _open(folder / shard) as file:
                shard_of |= dict.fromkeys(file.keys(), shard)
        return cls(folder, shard_of)

    @property
    def shards(self) -> list[str]:
        return sorted(set(self.shard_of.values()))

    def read(self, names: Iterable[str]) -> dict[str, torch.Tensor]:
        """The named tensors, in their type on disk."""
        wanted = set(names)
        tensors: dict[str, torch.Tensor] = {}
        for shard in self.shards:
            here = [name for name in wanted if self.shard_of[name] == shard]
            if here:
                with _open(self.folder / shard) as file:
                    tensors |= {name: file.get_tensor(name) for name in here}
        return tensors

    def headers(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Every tensor's shape and type, by safetensors' names of types (F32, BF16, ...)."""
        found: dict[str, tuple[tuple[int, ...], str]] = {}
        for shard in self.shards:
            with _open(self.folder / shard) as file:
                for name in file.offset_keys():
                    header = file.get_slice(name)
                    found[name] = (tuple(header.get_shape()), header.get_dtype())
        return found

    def sizes(self) -> dict[str, int]:
        """Bytes of every tensor; their types have been found to be floating-point."""
        return {name: prod(shape) * _FLOATS[kind] for name, (shape, kind) in self.headers().items()}


def _shards(index: Path) -> list[str]:
    try:
        return sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ExportError(f"{index} must be JSON with a weight_map: {type(error).__name__}: {error}") from None


def _open(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise ExportError(f"{path} cannot be read as safetensors: {error}") from None


def check_types(types: Mapping[str, str]) -> None:
    """Raises ExportError unless every weight is of a floating-point type."""
    wrong = [f"{name} is {kind}" for name, kind in sorted(types.items()) if kind not in _FLOATS]
    if wrong:
        raise ExportError(f"weights must be {', '.join(_FLOATS)}: {'; '.join(wrong[:10])}")


def check_shapes(found: Shapes, expected: Shapes, optional: Iterable[str]) -> None:
    """Raises ExportError, listing every key that is missing, unknown, or of another shape."""
    missing = [f"missing: {k} {list(expected[k])}" for k in sorted(expected.keys() - found.keys() - set(optional))]
    unknown = [f"unknown: {k} {list(found[k])}" for k in sorted(found.keys() - expected.keys())]
    wrong = [
        f"shape: {k} is {list(found[k])}, the config makes it {list(expected[k])}"
        for k in sorted(found.keys() & expected.keys())
        if found[k] != expected[k]
    ]
    problems = missing + unknown + wrong
    if problems:
        lines = "\n  ".join(problems)
        raise ExportError(f"{len(problems)} weights do not fit the checkpoint's config:\n  {lines}")


def sha256(paths: Sequence[Path]) -> str:
    """One hash over files, names and contents, in the order given."""
    digest = hashlib.sha256()
    total = sum(path.stat().st_size for path in paths)
    with tqdm(total=total, unit="B", unit_scale=True, desc="hashing the checkpoint", delay=2) as progress:
        for path in paths:
            digest.update(path.name.encode() + b"\0")
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    progress.update(len(chunk))
    return digest.hexdigest()
