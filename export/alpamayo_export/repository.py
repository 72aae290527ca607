"""Writes the model repository: the tree's `model_repository/` with one checkpoint's weights and constants in it."""

import dataclasses
import fcntl
import glob
import importlib.metadata
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from alpamayo_model_repository.exported_files import RECORD, describe_all, exported_files
from google.protobuf import text_format
from torch import Tensor
from tqdm import tqdm
from tritonclient.grpc import model_config_pb2

from alpamayo_export.checkpoint_files import Weights
from alpamayo_export.errors import ExportError
from alpamayo_export.limits import KvCache
from alpamayo_export.shards import write_shards

ENSEMBLE = "alpamayo"
REASONER, DENOISER, UNICYCLE = "alpamayo_reasoner", "alpamayo_denoiser", "alpamayo_unicycle"
CANCEL = "alpamayo_cancel"
MANIFEST = "alpamayo.json"  # its text is also the ensemble's parameter `alpamayo`: what a client's metadata() reads
FLAGS = "tritonserver_flags"

# What every model needs beside its model.py: it must stand on its own.
EVERY_MODEL = (
    *("cancellations.py", "contract.py", "exported_files.py", "own_server.py", "queue_waker.py"),
    *("server_stopping.py", "stage_metrics.py", "stage_spans.py", "triton_adapter.py"),
)
_SHARED = {
    REASONER: (*EVERY_MODEL, "cuda_graph.py", "ego_history.py", "kv_checksum.py", "random_weights.py"),
    DENOISER: (*EVERY_MODEL, "cuda_graph.py", "kv_checksum.py"),
    UNICYCLE: (*EVERY_MODEL, "ego_history.py"),
    CANCEL: EVERY_MODEL,
}
_NETWORKS = (".safetensors", ".onnx", ".pt2")
_VLM = "vlm."  # how the reasoner's weights begin in a checkpoint
_PACKAGES = ("numpy", "onnx", "onnxruntime", "safetensors", "tokenizers", "torch", "transformers")


@contextmanager
def replacing(output: Path) -> Iterator[Path]:
    """A folder to write the repository to; it becomes `output` when, and only when, the body succeeds.

    Raises:
        ExportError: `output` exists and is no model repository of ours.
    """
    output = output.absolute()
    if output.exists() and not (output / MANIFEST).is_file() and not _is_empty_folder(output):
        raise ExportError(f"{output} exists and holds no {MANIFEST}: not an exported repository, so it is not replaced")
    output.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{output.name}.alpamayo-export-"
    for work in output.parent.glob(f"{glob.escape(prefix)}*"):
        _clear_if_abandoned(work, output)
    work = Path(tempfile.mkdtemp(prefix=prefix, dir=output.parent))
    lock = _lock(work)
    try:
        new = work / "new"
        new.mkdir()
        yield new
        old = work / "old"
        if output.exists():
            output.rename(old)
        try:
            new.rename(output)
        except BaseException:
            if old.exists():
                old.rename(output)
            raise
    finally:
        shutil.rmtree(work)
        os.close(lock)


def _lock(work: Path) -> int:
    """Holds the folder until it is closed, if only by this process's end. Raises BlockingIOError if another does."""
    descriptor = os.open(work, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _clear_if_abandoned(work: Path, output: Path) -> None:
    """What a killed export left: if it was between its two renames, the old repository is in there."""
    try:
        lock = _lock(work)
    except BlockingIOError:  # it is being written
        return
    if (work / "old").exists() and not output.exists():
        (work / "old").rename(output)
    shutil.rmtree(work)
    os.close(lock)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def copy_tree(repository: Path) -> None:
    """Puts the models' own files into `repository`."""
    source = Path(str(files("alpamayo_model_repository")))
    for model in (ENSEMBLE, *_SHARED):
        shutil.copytree(source / model, repository / model, ignore=shutil.ignore_patterns("__pycache__"))
        for module in _SHARED.get(model, ()):
            shutil.copy(source / module, repository / model / "1" / module)


def write_reasoner_weights(weights: Weights, folder: Path) -> None:
    """The `vlm.` weights, that prefix removed, in the checkpoint's own type."""
    sizes = {name.removeprefix(_VLM): size for name, size in sorted(weights.sizes().items()) if name.startswith(_VLM)}

    def read(name: str) -> Tensor:
        (tensor,) = weights.read([_VLM + name]).values()
        return tensor

    write_shards(folder, sizes, read, "reasoner weights")


def set_kv_cache(repository: Path, kv: KvCache) -> None:
    """Writes the KV cache's type and shape into the two configurations that carry it."""
    for model, direction in ((REASONER, "output"), (DENOISER, "input")):
        with edited_config(repository, model) as config:
            tensor = next(t for t in getattr(config, direction) if t.name == "kv_cache")
            tensor.data_type = {"fp32": model_config_pb2.TYPE_FP32, "bf16": model_config_pb2.TYPE_BF16}[kv.precision]
            tensor.dims[:] = [kv.layers, 2, kv.kv_heads, -1, kv.head_dim]


def put_on_gpu(repository: Path) -> None:
    """The two networks on the first GPU, in one process each: the KV cache passes between them on the device."""
    for model in (REASONER, DENOISER):
        with edited_config(repository, model) as config:
            config.instance_group[0].kind = model_config_pb2.ModelInstanceGroup.KIND_GPU
            config.instance_group[0].gpus[:] = [0]


def record_files(repository: Path) -> None:
    """Beside each model's files, their sizes and hashes: it refuses to load others. Not of its config.pbtxt, in which
    users set instances and queues.
    """
    for model in _SHARED:
        folder = repository / model / "1"
        paths = exported_files(folder)
        found = tqdm(describe_all(paths), total=len(paths), desc=f"hashing {model}", unit="file", delay=2)
        names = (path.relative_to(folder).as_posix() for path in paths)
        write_json(folder / RECORD, dict(zip(names, found, strict=True)))


def write_manifest(repository: Path, manifest: dict[str, Any]) -> None:
    write_json(repository / MANIFEST, manifest)
    with edited_config(repository, ENSEMBLE) as config:
        config.parameters[ENSEMBLE].string_value = json.dumps(manifest)


def network_bytes(repository: Path) -> int:
    """Of the files that hold the networks."""
    return sum(path.stat().st_size for path in repository.rglob("*") if path.suffix in _NETWORKS)


@contextmanager
def edited_config(repository: Path, model: str) -> Iterator[Any]:
    path = repository / model / "config.pbtxt"
    config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
    yield config
    path.write_text(text_format.MessageToString(config))


def write_json(path: Path, value: Any) -> None:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    path.write_text(json.dumps(value, indent=2) + "\n")


def versions() -> dict[str, str]:
    """Versions that decide what an export computes."""
    distributions = importlib.metadata.packages_distributions()  # onnxruntime's may be onnxruntime-gpu
    found = {name: importlib.metadata.version(distributions[name][0]) for name in _PACKAGES}
    found["alpamayo-triton"] = importlib.metadata.version("alpamayo-triton")
    return {"python": platform.python_version(), **found, "cuda": torch.version.cuda or "none"}
