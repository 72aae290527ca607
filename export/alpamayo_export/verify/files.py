"""Every file of a repository but the networks, against what an export of the checkpoint writes with this version."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpamayo_model_repository.exported_files import DamagedFiles, check_files
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from alpamayo_export import repository as repo
from alpamayo_export.checkpoint import Checkpoint, hashes
from alpamayo_export.errors import ExportError
from alpamayo_export.limits import Limits
from alpamayo_export.settings import OFFLOADED, PRECISIONS, Target, write_flags, write_settings
from alpamayo_export.verify.report import Row
from alpamayo_export.verify.tolerances import EXACT

# Of a config.pbtxt, what is no part of the contract: for users to set.
_USERS = ("dynamic_batching", "version_policy", "response_cache", "model_warmup")
MODELS = (repo.ENSEMBLE, repo.REASONER, repo.DENOISER, repo.UNICYCLE)


@dataclass(frozen=True)
class Description:
    """What a repository says of itself."""

    manifest: dict[str, Any]
    target: Target


def describe(repository: Path) -> Description:
    """Raises ExportError if it has no manifest that can be read."""
    path = repository / repo.MANIFEST
    try:
        manifest = json.loads(path.read_text())
        limits, checkpoint = Limits(**manifest["limits"]), manifest["checkpoint"]["sha256"]
        precision, denoiser = manifest["precision"], manifest["denoiser"]
        if precision not in PRECISIONS or not isinstance(checkpoint, str):
            raise ValueError(f"precision {precision!r}, checkpoint {checkpoint!r}")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ExportError(
            f"{path} cannot be read ({type(error).__name__}: {error}); wanted a repository that alpamayo-export wrote"
        ) from None
    return Description(manifest, Target(precision, denoiser, limits, _offload(repository), _on_gpu(repository)))


def _offload(repository: Path) -> tuple[str, ...]:
    """In the file's order. Nothing, if that file is broken: it will then differ from what is wanted."""
    try:
        offload = json.loads((repository / repo.REASONER / "1" / "reasoner.json").read_text())["offload"]
        return tuple(name for name in offload if name in OFFLOADED)
    except (OSError, ValueError, TypeError, KeyError):
        return ()


def _on_gpu(repository: Path) -> bool:
    try:
        return "KIND_GPU" in (repository / repo.REASONER / "config.pbtxt").read_text()
    except (OSError, ValueError):
        return False


def check_belongs(described: Description, checkpoint: Checkpoint) -> None:
    """Raises ExportError unless the repository was exported from this checkpoint."""
    found = described.manifest["checkpoint"]
    for name, wanted in hashes(checkpoint).items():
        if found.get(name) != wanted:
            raise ExportError(
                f"the repository is of another checkpoint: its {name} is {found.get(name)}, that of "
                f"{checkpoint.folder} is {wanted}; give the one that it was exported from, or export again"
            )


def verify_files(repository: Path, checkpoint: Checkpoint, described: Description) -> Iterator[Row]:
    """A row for each model: how many of its files are missing, or not as they are written."""
    with tempfile.TemporaryDirectory() as temporary:
        wanted = Path(temporary)
        text_tokens = write_settings(checkpoint, wanted, described.target)
        write_flags(checkpoint, wanted, described.target, text_tokens, repo.network_bytes(repository))
        repo.write_manifest(wanted, described.manifest)
        for part in (*MODELS, repo.FLAGS):
            names = sorted(path.relative_to(wanted) for path in _files(wanted / part))
            wrong = [str(name) for name in names if not _equal(repository / name, wanted / name)]
            more = ", ..." if len(wrong) > 3 else ""
            note = f"not as exported: {', '.join(wrong[:3])}{more}" if wrong else ""
            yield Row(f"{part}: files that differ", len(wrong), EXACT, note)


def verify_record(repository: Path) -> Iterator[Row]:
    """A row for each stage: whether it would load, by the sizes and hashes that the export has recorded."""
    for stage in MODELS[1:]:
        try:
            check_files(repository / stage / "1", lambda line: None)
        except DamagedFiles as error:
            yield Row(f"{stage}: files as recorded", 1, EXACT, str(error))
        else:
            yield Row(f"{stage}: files as recorded", 0, EXACT)


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [it for it in path.rglob("*") if it.is_file()]


def _equal(found: Path, wanted: Path) -> bool:
    if not found.is_file():
        return False
    try:
        return bool(_content(found) == _content(wanted))
    except (ValueError, text_format.ParseError):
        return False


def _content(path: Path) -> Any:
    """What a file says; its layout, and the order of keys, are no part of that."""
    if path.suffix == ".json":
        content = json.loads(path.read_text())
        if isinstance(content, dict):
            content.pop("transformers_version", None)  # who wrote it
        return content
    if path.suffix == ".pbtxt":
        config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
        for field in _USERS:
            config.ClearField(field)
        for group in config.instance_group:  # the kind stays: the networks are on a GPU together, or not
            group.ClearField("gpus")
        return config
    return path.read_bytes()
