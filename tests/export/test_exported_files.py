"""A model whose files are not those that were exported does not load, and says which."""

import importlib.machinery
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from exported_files import RECORD, DamagedFiles, check_files

REASONER, DENOISER, UNICYCLE = (f"alpamayo_{stage}/1" for stage in ("reasoner", "denoiser", "unicycle"))
FILES = [
    f"{REASONER}/{name}"
    for name in ("model.safetensors", "tokenizer.json", "reasoner.json", "config.json", "reasoner/decoding.py")
]
FILES += [f"{DENOISER}/{name}" for name in ("denoiser.onnx", "denoiser.pt2", "denoiser.json", "denoiser/euler.py")]
FILES += [f"{UNICYCLE}/{name}" for name in ("unicycle.json", "unicycle.py", "model.py", "exported_files.py")]


@pytest.fixture
def copied(repository: Path, tmp_path: Path) -> Path:
    return shutil.copytree(repository, tmp_path / "repository")


def flip(path: Path):
    """One bit in its middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path):
    os.truncate(path, path.stat().st_size - 1)


def refusal(folder: Path) -> str:
    with pytest.raises(DamagedFiles) as refused:
        check_files(folder, print)
    return str(refused.value)


@pytest.mark.parametrize("model", [REASONER, DENOISER, UNICYCLE])
def test_an_export_is_as_it_was_exported(repository, model):
    said = []
    check_files(repository / model, said.append)
    (line,) = said
    assert f"files of {repository / model} are as exported: " in line
    recorded = json.loads((repository / model / RECORD).read_text())
    there = {str(path.relative_to(repository / model)) for path in (repository / model).rglob("*") if path.is_file()}
    assert {name for name in there if "__pycache__" not in name} == {*recorded, RECORD}


@pytest.mark.parametrize("file", FILES)
def test_one_bit_or_one_byte_less(copied, file):
    path, model = copied / file, copied / "/".join(file.split("/")[:2])
    whole = path.read_bytes()
    flip(path)
    message = refusal(model)
    assert message.startswith(f"{path}: exported with {len(whole)} bytes, SHA-256 ")
    assert f" found with {len(whole)} bytes, SHA-256 " in message
    path.write_bytes(whole)
    check_files(model, print)
    truncate(path)
    assert f"{path}: exported with {len(whole)} bytes, " in refusal(model)
    assert f"found with {len(whole) - 1} bytes" in refusal(model)
    path.unlink()
    assert refusal(model) == f"{path}: missing. Export the repository again"


def test_a_module_that_was_not_exported(copied):
    """It might be imported in the place of another."""
    (copied / UNICYCLE / "numpy.py").write_text("")
    assert refusal(copied / UNICYCLE) == (
        f"{copied / UNICYCLE / 'numpy.py'}: not exported. Export the repository again"
    )


def test_what_may_change(copied):
    (copied / DENOISER / "denoiser-0123456789abcdef.engine").write_text("kept by the server")
    (copied / DENOISER / "__pycache__").mkdir(exist_ok=True)
    (copied / DENOISER / "__pycache__" / "model.cpython-311.pyc").write_text("")
    (copied / "alpamayo_denoiser" / "config.pbtxt").write_text("a user's own instances and queues")
    check_files(copied / DENOISER, print)


def test_without_its_record_nothing_is_loaded(copied):
    record = copied / UNICYCLE / RECORD
    for broken in ("{", "[]", '{"unicycle.py": 3}', '{"unicycle.py": {"bytes": "many", "sha256": ""}}'):
        record.write_text(broken)
        assert refusal(record.parent).startswith(f"{record}: not a record of files")
    record.unlink()
    assert refusal(record.parent).startswith(f"{record}: missing")


def test_many_are_counted(copied):
    for file in FILES[:5]:
        (copied / file).unlink()
    (copied / REASONER / "contract.py").unlink()
    assert refusal(copied / REASONER).endswith("; and 1 more. Export the repository again")


@pytest.mark.parametrize(
    ("file", "says"),
    [("unicycle.json", "DamagedFiles: "), ("contract.py", "alpamayo-serve: "), ("model.py", "alpamayo-serve: ")],
)
def test_the_server_does_not_start_and_says_why(copied, file, says):
    """A module that is cut off would fail when it is imported, in words of its own: the launcher looks before."""
    for network in ("alpamayo", "alpamayo_reasoner", "alpamayo_denoiser"):  # which only take longer
        shutil.rmtree(copied / network)
    damaged = copied / UNICYCLE / file
    whole = damaged.stat().st_size
    truncate(damaged)
    ports = ("--grpc-port=0", "--http-port=0", "--metrics-port=0")
    served = subprocess.run(
        [Path(sys.executable).with_name("alpamayo-serve"), copied, *ports], capture_output=True, text=True, check=False
    )
    assert served.returncode == 1
    assert served.stdout == ""
    assert f"{says}{damaged}: exported with {whole} bytes" in served.stderr
    assert "Export the repository again" in served.stderr


def test_what_python_would_import_and_was_not_exported(copied):
    compiled = copied / UNICYCLE / f"contract{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    compiled.touch()
    assert f"{compiled}: not exported" in refusal(copied / UNICYCLE)
