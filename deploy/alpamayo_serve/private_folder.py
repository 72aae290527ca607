"""The launcher's temporary folder."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "alpamayo-serve-"
LOCK = ".alpamayo-serve-lock"
"""A file in each of these folders, by which they are told from a user's own of such a name."""


@contextmanager
def private_folder() -> Iterator[Path]:
    """An empty one, for the block. Those of launchers that were killed go first.

    A launcher locks its own: the kernel unlocks it when the process ends, however that happens.
    """
    _remove_abandoned()
    new = Path(tempfile.mkdtemp(prefix=f"new-{PREFIX}"))
    descriptor = os.open(new / LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        folder = new.rename(new.with_name(new.name.removeprefix("new-")))  # from here on others find it, but locked
        try:
            yield folder
        finally:
            shutil.rmtree(folder)
    finally:
        os.close(descriptor)


def _remove_abandoned() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # locked; or not ours; or another launcher removes it, too
            _remove_if_abandoned(folder)


def _remove_if_abandoned(folder: Path) -> None:
    if folder.is_symlink():
        return
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        if folder.stat().st_uid == os.fstat(descriptor).st_uid == os.getuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
    finally:
        os.close(descriptor)
