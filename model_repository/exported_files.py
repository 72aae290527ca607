"""Whether a model's files are those that were exported: their sizes and SHA-256 stand in `files.json` beside them.

A copy goes beside every `model.py`, so that whoever serves the folder, by whatever launcher, is protected.
"""

import hashlib
import importlib.machinery
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

RECORD = "files.json"
_CHUNK_BYTES = 1 << 22
_IMPORTED = tuple(importlib.machinery.all_suffixes())  # of what Python takes for a module
_SHOWN = 5  # of many wrong files


class DamagedFiles(Exception):
    """A model's files are not those that were exported. The message names them, and says what to do."""


def describe(path: Path) -> dict[str, Any]:
    """A file's size and hash."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return {"bytes": size, "sha256": digest.hexdigest()}


def describe_all(paths: Iterable[Path]) -> Iterable[dict[str, Any]]:
    """Each one's, in that order; in threads, for hashing does not hold the interpreter."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(describe, paths)


def exported_files(folder: Path) -> list[Path]:
    """All of a version folder's files but the record, and what Python caches."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(path for path in files if path != folder / RECORD)


def check_files(folder: Path, log: Callable[[str], None]) -> None:
    """Reads every file that was exported to a version folder, and so warms the page cache for what loads them.

    What came later is let be, a TensorRT engine for one; but not a module, which might be imported in another's stead.

    Raises:
        DamagedFiles: a file is missing, is not as it was, or is a module that was not exported.
    """
    start = time.monotonic()
    wanted = _read_record(folder)
    _check(folder, wanted, wanted)
    seconds, size = time.monotonic() - start, sum(it["bytes"] for it in wanted.values())
    log(f"{len(wanted)} files of {folder} are as exported: {size / 1e6:.1f} MB in {seconds:.1f} s")


def check_modules(folder: Path) -> None:
    """check_files for the modules alone, which are small: for whoever can look before they are imported."""
    wanted = _read_record(folder)
    _check(folder, wanted, {name: it for name, it in wanted.items() if name.endswith(_IMPORTED)})


def _check(folder: Path, recorded: Mapping[str, Any], wanted: Mapping[str, dict[str, Any]]) -> None:
    names = {path.relative_to(folder).as_posix(): path for path in exported_files(folder)}
    wrong = [f"{it}: not exported" for name, it in names.items() if name.endswith(_IMPORTED) and name not in recorded]
    present = {name: it for name, it in wanted.items() if (folder / name).is_file()}
    wrong += [f"{folder / name}: missing" for name in wanted if name not in present]
    for name, found in zip(present, describe_all(folder / name for name in present), strict=True):
        if found != wanted[name]:
            wrong.append(f"{folder / name}: exported with {_say(wanted[name])}, found with {_say(found)}")
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise DamagedFiles(f"{'; '.join(wrong[:_SHOWN])}{more}. Export the repository again")


def _read_record(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / RECORD
    try:
        record = json.loads(path.read_text())
        return {str(name): {"bytes": int(it["bytes"]), "sha256": str(it["sha256"])} for name, it in record.items()}
    except FileNotFoundError:
        raise DamagedFiles(
            f"{path}: missing, so it is not known what was exported. Export the repository again"
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedFiles(f"{path}: not a record of files ({error!r}). Export the repository again") from None


def _say(description: dict[str, Any]) -> str:
    return f"{description['bytes']} bytes, SHA-256 {description['sha256'][:16]}..."
