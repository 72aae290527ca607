"""An export that is killed, or finds no room, leaves the repository that was there, and the next one cleans up."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from alpamayo_export.repository import replacing

SCRIPT = Path(sys.executable).with_name("alpamayo-export")
DEADLINE_S = 180


def old_repository(folder: Path) -> Path:
    folder.mkdir()
    (folder / "alpamayo.json").write_text('{"old": true}')
    return folder


def is_old(output: Path) -> bool:
    return {path.name: path.read_text() for path in output.iterdir()} == {"alpamayo.json": '{"old": true}'}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a given size in kB; by root only."""
    mounted = []

    def mount(kilobytes: int) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("cannot mount a small disk here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("file", ["tokenizer.json", "model.safetensors", "denoiser.pt2"])
def test_a_full_disk(small_disk, repository, checkpoint, file):
    """It is full in the middle of that file, by what a whole export writes before it."""
    written = sorted(
        (path for path in repository.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime_ns
    )
    written = [path for path in written if "__pycache__" not in path.parts]
    (at,) = (i for i, path in enumerate(written) if path.name == file)
    pages = sum(-(-path.stat().st_size // 4096) for path in written[:at])
    disk = small_disk(4 * (pages + written[at].stat().st_size // 8192 + 1))
    output = old_repository(disk / "repository")
    done = subprocess.run(
        [SCRIPT, checkpoint, "--output", output, "--precision", "fp32"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    first, *_, last = done.stderr.splitlines()
    assert first == f"alpamayo-export: {checkpoint} is whole"
    assert last.startswith("alpamayo-export: ")
    assert "No space left on device" in last
    assert is_old(output)
    assert list(disk.iterdir()) == [output]


@pytest.mark.parametrize("file", ["model.safetensors", "denoiser.pt2"])  # the ONNX graph is made after the latter
def test_a_killed_export(checkpoint, tmp_path, file):
    output = old_repository(tmp_path / "repository")
    export = subprocess.Popen(
        [SCRIPT, checkpoint, "--output", output, "--precision", "fp32"], stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + DEADLINE_S
    while not list(tmp_path.glob(f".repository.*/new/*/1/{file}")):
        assert export.poll() is None
        assert time.monotonic() < end
    export.kill()
    assert export.wait() == -signal.SIGKILL
    assert is_old(output)
    (left,) = (path for path in tmp_path.iterdir() if path != output)
    assert left.name.startswith(".repository.alpamayo-export-")
    with replacing(output) as new:
        assert new.parent != left
        (new / "alpamayo.json").write_text("{}")
    assert list(tmp_path.iterdir()) == [output]


# Enters replacing() and tells in which folder; ends when it is killed.
EXPORTING = """
import sys, time
from pathlib import Path
from alpamayo_export.repository import replacing

with replacing(Path(sys.argv[1])) as new:
    print(new.parent, flush=True)
    time.sleep(1e6)
"""


def test_between_its_two_renames_the_old_one_is_not_lost_and_who_still_writes_is_let_be(tmp_path):
    output = old_repository(tmp_path / "repository")
    with subprocess.Popen([sys.executable, "-c", EXPORTING, output], stdout=subprocess.PIPE, text=True) as export:
        work = Path(export.stdout.readline().strip())
        with replacing(output) as new:
            shutil.copy(output / "alpamayo.json", new)
        assert work.is_dir()
        os.rename(output, work / "old")
        export.kill()
    with replacing(output) as new:
        assert is_old(output)
        assert not work.exists()
        shutil.copy(output / "alpamayo.json", new)
    assert list(tmp_path.iterdir()) == [output]
