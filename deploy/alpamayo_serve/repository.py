"""What the launcher reads from a model repository."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alpamayo_model_repository.exported_files import RECORD, DamagedFiles, check_modules

from alpamayo_serve.errors import LaunchError

EXPORT_RECORD = "alpamayo.json"
FLAGS = "tritonserver_flags"


@dataclass(frozen=True)
class Repository:
    """A complete repository: its folder, the models that Triton will load, the flags that its checkpoint needs."""

    path: Path
    models: tuple[str, ...]
    flags: tuple[str, ...]


def read_repository(path: Path) -> Repository:
    """Raises LaunchError, naming every missing part, if `path` is not a repository that alpamayo-export completed."""
    if not path.is_dir():
        raise LaunchError(f"no model repository at {path}: {_how_to_export(path)}")
    models = tuple(sorted(config.parent.name for config in path.glob("*/config.pbtxt")))
    missing = [name for name in (EXPORT_RECORD, FLAGS) if not (path / name).is_file()]
    if not models:
        missing.append("any model (a folder with a config.pbtxt)")
    if missing:
        raise LaunchError(
            f"{path} is not a complete model repository, it lacks {', '.join(missing)}: {_how_to_export(path)}"
        )
    flags = tuple(line.strip() for line in (path / FLAGS).read_text().splitlines() if line.strip())
    for flag in flags:
        if not flag.startswith("--"):
            raise LaunchError(f"{path / FLAGS}: {flag!r} is no tritonserver flag, wanted --name=value, one a line")
    _check_modules(path, models)
    absolute = path.absolute()
    check_path(absolute, "move the repository, or serve a symbolic link to it")
    return Repository(absolute, models, flags)


def _check_modules(path: Path, models: Sequence[str]) -> None:
    """A model checks its files itself, but has then imported its modules: a damaged one would fail in its own words."""
    try:
        for model in models:
            if (path / model / "1" / RECORD).is_file():
                check_modules(path / model / "1")
    except DamagedFiles as error:
        raise LaunchError(str(error)) from error


def check_path(path: Path, remedy: str) -> None:
    """Triton's Python backend pastes paths into a shell command unquoted, and would wait for a stub that never ran."""
    unsafe = re.sub(r"[\w./+@%=:,-]", "", str(path))
    if unsafe:
        raise LaunchError(
            f"Triton's Python backend cannot use the path {str(path)!r} because of {unsafe[0]!r} in it: {remedy}"
        )


def _how_to_export(path: Path) -> str:
    return f"write one with `alpamayo-export CHECKPOINT --output {path}`"
