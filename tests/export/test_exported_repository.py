"""What an export writes."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from alpamayo_export import cli
from alpamayo_export.checkpoint_files import Weights, sha256
from alpamayo_export.repository import write_reasoner_weights
from checkpoint_copy import CheckpointCopy
from exported import config, contents, old_repository
from reasoner.reasoner import Reasoner
from safetensors.torch import load_file
from tritonclient.grpc import model_config_pb2

MODELS = ("alpamayo", "alpamayo_cancel", "alpamayo_denoiser", "alpamayo_reasoner", "alpamayo_unicycle")
NETWORKS = ("alpamayo_reasoner", "alpamayo_denoiser")


def reasoner_weights(repository: Path) -> dict[str, torch.Tensor]:
    tensors = {}
    for path in (repository / "alpamayo_reasoner" / "1").glob("*.safetensors"):
        tensors |= load_file(path)
    return tensors


# What is written


def test_files(repository):
    files = {name for name in contents(repository) if "__pycache__" not in name}
    shared = {
        "config.pbtxt",
        "1/model.py",
        "1/files.json",
        "1/exported_files.py",
        "1/cancellations.py",
        "1/contract.py",
        "1/own_server.py",
        "1/queue_waker.py",
        "1/server_stopping.py",
        "1/stage_metrics.py",
        "1/stage_spans.py",
        "1/triton_adapter.py",
    }
    assert {name.partition("/")[2] for name in files if name.startswith("alpamayo_denoiser/")} >= shared | {
        "1/denoiser.json",
        "1/denoiser.onnx",
        "1/denoiser.pt2",
        "1/denoiser/euler.py",
    }
    assert {name.partition("/")[2] for name in files if name.startswith("alpamayo_reasoner/")} >= shared | {
        "1/config.json",
        "1/ego_history.py",
        "1/model.safetensors",
        "1/reasoner.json",
        "1/reasoner/reasoner.py",
        "1/tokenizer.json",
    }
    assert {name.partition("/")[2] for name in files if name.startswith("alpamayo_unicycle/")} == shared | {
        "1/ego_history.py",
        "1/unicycle.json",
        "1/unicycle.py",
    }
    assert {name.partition("/")[2] for name in files if name.startswith("alpamayo_cancel/")} == shared | {
        "1/request_id.py",
    }
    assert {path.name for path in repository.iterdir()} == {*MODELS, "alpamayo.json", "tritonserver_flags"}
    assert (repository / "alpamayo" / "1").is_dir()  # Triton wants it, if empty
    assert not [name for name in files if name.endswith((".pt", ".bin", ".pkl"))]


def test_everybody_may_read_it(repository):
    """The server may run as another user than the export did."""
    for path in repository.rglob("*"):
        wanted = 0o555 if path.is_dir() else 0o444
        assert path.stat().st_mode & wanted == wanted, path


def test_reasoner_weights_lose_their_prefix_and_keep_their_type(copy, tmp_path):
    def to_bf16(tensors):
        for name in tensors:
            if name.startswith("vlm.model.language_model."):
                tensors[name] = tensors[name].bfloat16()

    copy.edit_weights(to_bf16)
    write_reasoner_weights(Weights.find(copy.folder), tmp_path)
    wanted = load_file(copy.folder / "model.safetensors")
    wanted = {name.removeprefix("vlm."): x for name, x in wanted.items() if name.startswith("vlm.")}
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == wanted.keys()
    assert {x.dtype for x in found.values()} == {torch.float32, torch.bfloat16}
    assert all(found[name].dtype == x.dtype and torch.equal(found[name], x) for name, x in wanted.items())


def test_manifest(repository, checkpoint):
    manifest = json.loads((repository / "alpamayo.json").read_text())
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        digest.update(name.encode() + b"\0" + (checkpoint / name).read_bytes())
    assert manifest["checkpoint"] == {
        "name": "checkpoint",
        "sha256": digest.hexdigest(),
        "vlm_name_or_path": "vlm",
        "vlm_sha256": sha256(sorted((checkpoint / "vlm").iterdir())),
    }
    assert manifest["precision"] == "fp32"
    assert manifest["denoiser"] == "onnxruntime"
    assert manifest["limits"] == {"max_images": 16, "max_trajectories": 32, "max_generation_length": 256}
    assert manifest["images"] == {"multiple_of": 32, "min_pixels": 163840, "max_pixels": 196608}
    assert manifest["versions"]["torch"] == torch.__version__
    assert {"alpamayo-triton", "onnx", "onnxruntime", "python", "transformers"} <= manifest["versions"].keys()


def test_the_server_reports_the_manifest(repository):
    parameter = config(repository, "alpamayo").parameters["alpamayo"].string_value
    assert json.loads(parameter) == json.loads((repository / "alpamayo.json").read_text())


def test_the_hash_depends_on_every_file(copy):
    def now():
        return sha256([copy.folder / "config.json", copy.folder / "model.safetensors"])

    first = now()
    assert now() == first
    copy.edit_config(lambda config: config.update(transformers_version="5"))
    second = now()
    copy.edit_weights(lambda tensors: tensors["expert.norm.weight"].add_(1e-3))
    assert len({first, second, now()}) == 3


def test_no_path_of_this_machine_is_in_the_repository(repository, checkpoint):
    exported = {name: data for name, data in contents(repository).items() if "__pycache__" not in name}  # a server's
    for name, data in exported.items():
        for path in (checkpoint, repository, Path(cli.__file__).parent):
            assert str(path).encode() not in data, name


# Another export: a checkpoint in shards, other limits, bf16, over an older repository


@pytest.fixture(scope="module")
def sharded(checkpoint, tmp_path_factory) -> Path:
    """Exported with the command, in place of an older repository."""
    folder = tmp_path_factory.mktemp("sharded")
    copy = CheckpointCopy.make(checkpoint, folder)
    copy.shard(lambda name: f"model-0000{1 + sum(map(ord, name)) % 3}-of-00003.safetensors")
    output = old_repository(folder / "repository")
    script = Path(sys.executable).with_name("alpamayo-export")
    options = ["--precision", "bf16", "--max-images", "2", "--max-trajectories", "3", "--max-generation-length", "40"]
    done = subprocess.run(
        [script, copy.folder, "--output", output, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"alpamayo-export: wrote {output}; serve it with: alpamayo-serve {output}\n"
    assert " passed, " in done.stderr  # alpamayo-verify's table
    return output


def test_an_older_repository_is_replaced_whole(sharded):
    assert {path.name for path in sharded.iterdir()} == {*MODELS, "alpamayo.json", "tritonserver_flags"}
    assert {path.name for path in sharded.parent.iterdir()} == {"checkpoint", "repository"}


def test_a_sharded_checkpoint_makes_the_same_weights(repository, sharded):
    one, three = reasoner_weights(repository), reasoner_weights(sharded)
    assert one.keys() == three.keys()
    assert all(torch.equal(one[name], three[name]) and one[name].dtype == three[name].dtype for name in one)


def test_many_weights_are_written_as_files_of_bounded_size_that_are_loaded(
    repository, checkpoint, tmp_path, monkeypatch
):
    folder = tmp_path / "1"
    shutil.copytree(repository / "alpamayo_reasoner" / "1", folder, ignore=shutil.ignore_patterns("*.safetensors"))
    monkeypatch.setattr("alpamayo_export.shards.SHARD_BYTES", 1_000_000)
    write_reasoner_weights(Weights.find(checkpoint), folder)
    one = reasoner_weights(repository)
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    assert {name: (folder / file).is_file() for name, file in index.items()} == dict.fromkeys(one, True)
    assert len(set(index.values())) > 2
    for file in set(index.values()):
        tensors = load_file(folder / file)
        assert all(torch.equal(tensors[name], one[name]) for name in tensors)
        assert len(tensors) == 1 or sum(tensor.nbytes for tensor in tensors.values()) <= 1_000_000
    loaded, single = (
        Reasoner(path, torch.device("cpu")).model for path in (folder, repository / "alpamayo_reasoner" / "1")
    )
    wanted = dict(single.named_parameters())
    assert all(torch.equal(parameter, wanted[name]) for name, parameter in loaded.named_parameters())


def test_a_sharded_checkpoint_is_loaded_and_in_the_precision_asked_for(sharded):
    reasoner = Reasoner(sharded / "alpamayo_reasoner" / "1", torch.device("cpu"))
    assert {parameter.dtype for parameter in reasoner.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("model", MODELS)
def test_precision_changes_the_type_of_the_kv_cache_and_of_nothing_else(repository, sharded, model):
    one, other = config(repository, model), config(sharded, model)
    types = [t.data_type for t in (*other.input, *other.output) if t.name == "kv_cache"]
    assert types == [model_config_pb2.TYPE_BF16] * (model in NETWORKS)
    for tensor in (*other.input, *other.output):
        if tensor.name == "kv_cache":
            tensor.data_type = model_config_pb2.TYPE_FP32
    for each in (one, other):
        each.parameters.pop("alpamayo", None)  # the manifest
        del each.instance_group[:]
    assert one == other


@pytest.mark.parametrize("model", MODELS)
def test_networks_in_bf16_are_put_on_a_gpu(sharded, model):
    groups = [(group.kind, group.count, list(group.gpus)) for group in config(sharded, model).instance_group]
    kinds = model_config_pb2.ModelInstanceGroup
    wanted = {model: [(kinds.KIND_GPU, 1, [0])] for model in NETWORKS} | {"alpamayo": []}
    assert groups == wanted.get(model, [(kinds.KIND_CPU, 1, [])])


def test_limits_and_precision_reach_the_models(sharded):
    def read(model, file):
        return json.loads((sharded / model / "1" / file).read_text())

    limits = {"max_images": 2, "max_trajectories": 3, "max_generation_length": 40}
    reasoner, denoiser = read("alpamayo_reasoner", "reasoner.json"), read("alpamayo_denoiser", "denoiser.json")
    assert {name: reasoner[name] for name in limits} == limits
    assert denoiser["max_trajectories"] == 3
    assert denoiser["max_kv_tokens"] == 1024
    assert reasoner["precision"] == denoiser["precision"] == "bf16"
    manifest = json.loads((sharded / "alpamayo.json").read_text())
    assert manifest["limits"] == limits
    assert manifest["precision"] == "bf16"
