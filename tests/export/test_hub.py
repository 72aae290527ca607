"""Models by their names on the Hugging Face hub: its real client against a little server, or none at all."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoint_copy import CheckpointCopy
from little_hub import COMMIT, LittleHub, little_hub

ALPAMAYO, QWEN = "nvidia/Alpamayo-R1-10B", "Qwen/Qwen3-VL-8B-Instruct"
FETCH = """
import sys
from alpamayo_export.errors import ExportError
from alpamayo_export.hub import fetch
try:
    print(fetch(sys.argv[1], ["config.json", "*.safetensors"]))
except ExportError as error:
    sys.exit(str(error))
"""
NOBODY = "http://127.0.0.1:9"  # the discard port


@pytest.fixture
def hub(checkpoint, tmp_path):
    """The golden checkpoint as it is released: its vision-language model is another one of the hub, weights and all."""
    copy = CheckpointCopy.make(checkpoint, tmp_path)
    copy.edit_config(lambda config: config.update(vlm_name_or_path=QWEN))
    (copy.folder / "README.md").write_text("not needed")
    qwen = Path(shutil.move(copy.vlm, tmp_path / "qwen"))
    (qwen / "model.safetensors").write_bytes(b"16 GB that nobody needs")
    with little_hub(**{ALPAMAYO.replace("/", "__"): copy.folder, QWEN.replace("/", "__"): qwen}) as hub:
        yield hub


def run(command: list, cache: Path, endpoint: str, **env: str) -> subprocess.CompletedProcess:
    """With no token, and the cache in a folder of its own; HF_ENDPOINT is read when the client is imported."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    env = clean | {"HF_HOME": str(cache), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"} | env
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)


def fetch(name: str, cache: Path, endpoint: str, **env: str) -> Path:
    done = run([sys.executable, "-c", FETCH, name], cache, endpoint, **env)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def refusal(name: str, cache: Path, endpoint: str, **env: str) -> str:
    """The one line that says what is wrong, after the client's own progress."""
    done = run([sys.executable, "-c", FETCH, name], cache, endpoint, **env)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"{name} of the hub ({endpoint}): "), done.stderr
    return line


def cached(checkpoint: Path, cache: Path, name: str = ALPAMAYO, revision: str = "main") -> Path:
    """A model in the cache as the client lays it out."""
    model = cache / "hub" / f"models--{name.replace('/', '--')}"
    snapshot = model / "snapshots" / COMMIT
    shutil.copytree(checkpoint, snapshot)
    (model / "refs").mkdir()
    (model / "refs" / revision).write_text(COMMIT)
    return snapshot


def test_a_checkpoint_of_the_hub_is_fetched_and_exported(hub: LittleHub, tmp_path):
    repository, cache = tmp_path / "repository", tmp_path / "cache"
    command = [Path(sys.executable).with_name("alpamayo-export"), ALPAMAYO, "--output", repository, "--no-verify"]
    done = run(command, cache, hub.url)
    assert done.returncode == 0, done.stderr
    about = json.loads((repository / "alpamayo.json").read_text())["checkpoint"]
    assert about["name"] == f"{ALPAMAYO}@{COMMIT}"
    assert about["vlm_name_or_path"] == QWEN
    got = {path.rpartition("/")[2] for method, path, _ in hub.asked if method == "GET" and f"{QWEN}/resolve" in path}
    assert got == {path.name for path in hub.models[QWEN].iterdir()} - {"model.safetensors"}
    assert len(hub.got("model.safetensors")) == 1  # the checkpoint's
    assert hub.got("README.md") == []
    assert "Fetching 2 files: 100%" in done.stderr  # the client's own progress


def test_what_is_in_the_cache_is_found_without_a_network(checkpoint, tmp_path):
    snapshot = cached(checkpoint, tmp_path)
    assert fetch(ALPAMAYO, tmp_path, NOBODY, HF_HUB_OFFLINE="1") == snapshot
    assert fetch(f"{ALPAMAYO}@{COMMIT}", tmp_path, NOBODY, HF_HUB_OFFLINE="1") == snapshot
    assert fetch(ALPAMAYO, tmp_path, NOBODY) == snapshot


def test_offline_with_nothing_cached(tmp_path):
    line = refusal(ALPAMAYO, tmp_path, NOBODY, HF_HUB_OFFLINE="1")
    assert f"HF_HUB_OFFLINE is set, and it is not, or not whole, in the cache {tmp_path / 'hub'}: unset it" in line
    assert "or pass a folder" in line


def test_nobody_there(tmp_path):
    line = refusal(ALPAMAYO, tmp_path, NOBODY)
    assert "the hub cannot be reached (" in line
    assert "Connection refused" in line
    assert "check the network, proxy and HF_ENDPOINT, or pass a folder" in line


def test_gated(hub, tmp_path):
    hub.gated.add(ALPAMAYO)
    line = refusal(ALPAMAYO, tmp_path / "cache", hub.url)
    assert f"its licence wants to be accepted: do so at {hub.url}/{ALPAMAYO}, then `hf auth login`" in line
    assert "HF_TOKEN" in line
    assert (fetch(ALPAMAYO, tmp_path / "cache", hub.url, HF_TOKEN="hf_mine") / "model.safetensors").is_file()


def test_no_such_model(hub, tmp_path):
    line = refusal("nvidia/Alpamayo-R1-10", tmp_path / "cache", hub.url)
    assert "there is no such model, or it is private: check the name, or `hf auth login`" in line


def test_no_such_revision(hub, tmp_path):
    line = refusal(f"{ALPAMAYO}@v9", tmp_path / "cache", hub.url)
    assert f"it has no branch, tag or commit v9: see {hub.url}/{ALPAMAYO}/tree/main" in line


def test_a_connection_that_breaks_off_is_taken_up_where_it_stopped(hub, tmp_path):
    content = os.urandom(25_000_000)  # the client works in pieces of 10 MB
    (hub.models[ALPAMAYO] / "large.safetensors").write_bytes(content)
    hub.cut["large.safetensors"] = [15_000_000]
    snapshot = fetch(ALPAMAYO, tmp_path / "cache", hub.url)
    assert (snapshot / "large.safetensors").read_bytes() == content
    first, second = hub.got("large.safetensors")
    assert first is None
    assert re.fullmatch(r"bytes=1\d{7}-", second)


def test_a_connection_that_breaks_off_again_and_again(hub, tmp_path):
    hub.cut["model.safetensors"] = [1000] + [0] * 20
    cache = tmp_path / "cache"
    line = refusal(ALPAMAYO, cache, hub.url)
    assert "the download broke off (" in line
    assert "run the same command again, files that are whole are kept" in line
    hub.cut.clear()
    hub.asked.clear()
    assert (fetch(ALPAMAYO, cache, hub.url) / "model.safetensors").is_file()
    assert hub.got("config.json") == []


def test_no_room(hub, tmp_path, monkeypatch):
    """A limit on the size of files stands for a full disk: the same error but for its number."""
    monkeypatch.setattr(
        subprocess, "run", lambda *args, **options: _run(*args, preexec_fn=lambda: _limit(1_000_000), **options)
    )
    line = refusal(ALPAMAYO, tmp_path / "cache", hub.url)
    assert f"File too large in the cache {tmp_path / 'cache' / 'hub'}: make room, or set HF_HOME" in line


_run = subprocess.run


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_folder_wins(checkpoint, tmp_path):
    """Nobody is asked: there is no network."""
    shutil.copytree(checkpoint, tmp_path / ALPAMAYO)
    script = (
        "import sys; from alpamayo_export.checkpoint_files import find_source; print(find_source(sys.argv[1], '', []))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, ALPAMAYO], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"Source(folder=PosixPath('{ALPAMAYO}'), name='Alpamayo-R1-10B')\n"
