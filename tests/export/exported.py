"""Repositories, exported or not, as the tests look at them."""

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2


def config(repository: Path, model: str):
    return text_format.Parse((repository / model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def old_repository(folder: Path) -> Path:
    """Something that an earlier export may have left."""
    (folder / "alpamayo_retired").mkdir(parents=True)
    (folder / "alpamayo.json").write_text("{}")
    (folder / "alpamayo_retired" / "config.pbtxt").write_text("old")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
