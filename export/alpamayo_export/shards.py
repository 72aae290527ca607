"""Weights as safetensors files of bounded size: who writes them needs memory for one file, not for all of them."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

SHARD_BYTES = 1_000_000_000


def write_shards(folder: Path, sizes: Mapping[str, int], read: Callable[[str], Tensor], what: str) -> None:
    """Writes the tensors of `sizes` as `model.safetensors`, or as shards of at most SHARD_BYTES with an index.

    Args:
        folder: an existing one.
        sizes: bytes of every tensor, by name, in the order in which they are written.
        read: a tensor by its name; a shard's are held until it is written. One that is larger is a shard by itself.
        what: names the progress bar.

    Raises:
        OSError: a file cannot be written.
    """
    shards = list(_divided(sizes))
    total = sum(sizes.values())
    weight_map: dict[str, str] = {}
    with tqdm(total=total, unit="B", unit_scale=True, desc=what, delay=2) as progress:
        for number, names in enumerate(shards, start=1):
            file = "model.safetensors" if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
            tensors = {}
            for name in names:
                tensors[name] = read(name)
                progress.update(sizes[name])
            save_tensors(tensors, folder / file)
            weight_map |= dict.fromkeys(names, file)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Raises OSError if the file cannot be written."""
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:  # a full disk, for one
        raise OSError(f"{path} cannot be written: {error}") from None
    path.chmod(0o644)  # it is written for its owner alone; the server may be somebody else


def _divided(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    shard: list[str] = []
    size = 0
    for name, more in sizes.items():
        if shard and size + more > SHARD_BYTES:
            yield shard
            shard, size = [], 0
        shard.append(name)
        size += more
    yield shard
