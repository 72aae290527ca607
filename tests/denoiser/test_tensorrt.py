"""The exported step in TensorRT, as far as it goes without a GPU: parsed, built, kept. Running it needs one."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from alpamayo_export import random_checkpoint
from alpamayo_export.checkpoint import open_checkpoint
from alpamayo_export.config import read_config
from alpamayo_export.denoiser import DenoisingStep
from alpamayo_export.denoiser_graph import load_step, write_graphs
from alpamayo_export.layout import SMALL_TOKENS, make_tokenizer, write_layout
from alpamayo_export.vlm import expert_config, read_vlm_config
from alpamayo_model_repository.random_weights import random_weight
from denoiser import tensorrt_engine
from denoiser.request import DenoiserSettings
from denoiser.runners import open_runner
from denoiser.tensorrt_engine import build_engine, open_engine, parse, profile_of, tensorrt

GPU = "a GPU"
PROFILE = {"x": ((1, 64, 2), (6, 64, 2), (32, 64, 2))}
RELEASED = DenoiserSettings("auto", "bf16", 2, 16, 8, 128, 5e6, max_kv_tokens=11264, max_trajectories=32)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@pytest.fixture(scope="module", params=DTYPES)
def graph(request, checkpoint, settings, tmp_path_factory) -> Path:
    """The golden checkpoint's step, exported."""
    opened = open_checkpoint(str(checkpoint))
    dtype = DTYPES[request.param]
    step = load_step(opened.config.action_in_proj, opened.expert, opened.denoiser_weights(), dtype, torch.float32)
    folder = tmp_path_factory.mktemp(request.param)
    write_graphs(step, opened.expert, folder)
    return folder / "denoiser.onnx"


def test_the_golden_step_is_built(graph, settings):
    assert build_engine(tensorrt(), graph, profile_of(settings))


def test_it_computes_in_its_own_types(graph):
    """Strongly typed: TensorRT may not choose others. K and V have as many heads as in the cache wherever they go."""
    trt = tensorrt()
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network, _parser = parse(trt, builder, graph)
    narrow = trt.bfloat16 if "bf16" in graph.parent.name else trt.float32
    inputs = {network.get_input(i).name: network.get_input(i).dtype for i in range(network.num_inputs)}
    assert inputs == {
        **dict.fromkeys(("x", "t", "cos", "sin"), trt.float32),
        **dict.fromkeys(("kv_cache", "kv_mask", "action_mask"), narrow),
    }
    assert network.get_output(0).dtype == trt.float32
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    matrices = [it for it in layers if it.type == trt.LayerType.MATRIX_MULTIPLY]
    in_narrow = [it for it in matrices if it.get_output(0).dtype == narrow]
    assert len(in_narrow) >= 4 * (7 + 2)  # four layers: seven projections, and scores and their sums
    assert {it.get_output(0).dtype for it in matrices} == {narrow, trt.float32}


def test_a_step_of_the_released_width_is_built(tmp_path):
    """Two of its layers, in bf16."""
    write_layout(tmp_path, random_checkpoint._released(2), make_tokenizer([], SMALL_TOKENS))
    config = read_config(tmp_path)
    vlm = read_vlm_config(tmp_path / "vlm", config.vocab_size)
    expert = expert_config(vlm, config.expert)
    with torch.device("meta"):
        shapes = {name: tuple(it.shape) for name, it in DenoisingStep(config.action_in_proj, expert).named_parameters()}
    assert shapes["expert.layers.1.mlp.down_proj.weight"] == (2048, 8256)
    weights = {
        name: random_weight(it, torch.bfloat16, torch.device("cpu"), i) for i, (name, it) in enumerate(shapes.items())
    }
    step = load_step(config.action_in_proj, expert, weights, torch.bfloat16, torch.bfloat16)
    write_graphs(step, expert, tmp_path)
    assert (tmp_path / "denoiser.onnx").stat().st_size < 10e6  # the weights are in torch's archive alone
    engine = build_engine(tensorrt(), tmp_path / "denoiser.onnx", profile_of(RELEASED))
    assert len(engine) > 0.9 * sum(tensor.nbytes for tensor in weights.values())


def test_what_is_no_graph_is_refused_with_what_tensorrt_says(tmp_path):
    (tmp_path / "denoiser.onnx").write_bytes(b"no graph")
    with pytest.raises(RuntimeError, match=r"TensorRT cannot parse .*denoiser.onnx: \w"):
        build_engine(tensorrt(), tmp_path / "denoiser.onnx", PROFILE)


def test_an_impossible_profile_is_refused(graph):
    with pytest.raises(RuntimeError, match=r"TensorRT (refuses|cannot build)"):
        build_engine(tensorrt(), graph, {"x": ((8, 64, 2), (4, 64, 2), (2, 64, 2))})


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """A graph, and a list of what was built for it."""
    built = []

    def build(trt, graph, profile):
        built.append(profile)
        return f"engine {len(built)}".encode()

    monkeypatch.setattr(tensorrt_engine, "build_engine", build)
    (tmp_path / "denoiser.onnx").write_bytes(b"a graph")
    (tmp_path / "denoiser.pt2").write_bytes(b"its weights")
    return tmp_path / "denoiser.onnx", built


def test_an_engine_is_built_once_and_again_when_anything_differs(counted):
    graph, built = counted
    trt, said, load = tensorrt(), [], bytes

    def engine(profile=PROFILE, gpu=GPU):
        return open_engine(trt, graph, profile, gpu, load, said.append)

    assert [engine(), engine()] == [b"engine 1"] * 2
    assert len(said) == 1
    assert GPU in said[0]
    assert engine(gpu="another GPU") == b"engine 2"
    assert engine() == b"engine 3"  # one is kept
    assert engine(profile={"x": ((1, 64, 2), (1, 64, 2), (2, 64, 2))}) == b"engine 4"
    graph.with_name("denoiser.pt2").write_bytes(b"other weights")
    assert engine(profile={"x": ((1, 64, 2), (1, 64, 2), (2, 64, 2))}) == b"engine 5"
    assert len(built) == 5
    assert [path.read_bytes() for path in graph.parent.glob("*.engine")] == [b"engine 5"]
    assert {path.suffix for path in graph.parent.iterdir()} == {".onnx", ".pt2", ".engine"}


def test_a_kept_engine_that_cannot_be_loaded_is_built_again(counted):
    graph, built = counted
    said = []

    def load(serialized):
        return None if serialized == b"engine 1" and len(built) > 1 else serialized

    open_engine(tensorrt(), graph, PROFILE, GPU, load, said.append)
    (kept,) = graph.parent.glob("*.engine")
    kept.write_bytes(b"half an eng")
    assert open_engine(
        tensorrt(), graph, PROFILE, GPU, lambda it: it if it.startswith(b"engine") else None, said.append
    )
    assert kept.read_bytes() == b"engine 2"
    assert f"{kept} cannot be loaded, so it is built again" in said
    with pytest.raises(RuntimeError, match="cannot load the engine that it has built"):
        open_engine(tensorrt(), graph, PROFILE, "another", lambda it: None, said.append)


def test_an_engine_that_cannot_be_kept_serves_all_the_same(counted, monkeypatch):
    graph, _ = counted

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    said = []
    assert open_engine(tensorrt(), graph, PROFILE, GPU, bytes, said.append) == b"engine 1"
    assert "the next start builds it again: [Errno 28] No space left on device" in said[-1]
    assert {path.suffix for path in graph.parent.iterdir()} == {".onnx", ".pt2"}


def test_the_profile_ends_at_the_repositorys_limits(settings):
    profile = profile_of(RELEASED)
    assert profile["kv_cache"] == tuple((2, 2, 8, tokens, 128) for tokens in (1, 3328, 11264))
    assert profile["kv_mask"] == ((128, 1), (768, 3328), (4096, 11264))
    assert profile["action_mask"] == ((128, 64), (768, 384), (4096, 2048))
    assert "t" not in profile
    small = profile_of(replace(RELEASED, max_kv_tokens=100, max_trajectories=2))
    assert small["kv_mask"] == ((128, 1), (256, 100), (256, 100))


def test_without_tensorrt_it_says_what_to_install(monkeypatch):
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_libs", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RuntimeError, match="TensorRT is not installed: pip install tensorrt, or tensorrt-rtx"):
        tensorrt()


def test_a_repository_for_tensorrt_is_refused_where_there_is_no_gpu(denoiser_folder, settings):
    with pytest.raises(RuntimeError, match="nothing here runs the denoiser: tensorrt: TensorRT needs a GPU"):
        open_runner(denoiser_folder, torch.device("cpu"), replace(settings, runner="tensorrt"))


def test_what_runs_is_named_in_the_log(denoiser_folder, settings):
    said = []
    runner = open_runner(denoiser_folder, torch.device("cpu"), replace(settings, runner="auto"), said.append)
    assert said == [f"the denoiser runs on {runner.name}"]
    assert runner.name.startswith("onnxruntime ")
