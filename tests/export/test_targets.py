"""What options come to for a checkpoint and this machine, and what the models are told of it."""

import json

import pytest
import torch
from alpamayo_export.checkpoint import open_checkpoint
from alpamayo_export.errors import ExportError
from alpamayo_export.export import Options, choose_target
from alpamayo_export.settings import Target, write_settings
from exported import config
from tritonclient.grpc import model_config_pb2

HAS_GPU = torch.cuda.is_available()


@pytest.mark.parametrize(
    ("precision", "denoiser", "wanted"),
    [
        ("auto", "auto", ("bf16", "auto", True) if HAS_GPU else ("fp32", "onnxruntime", False)),
        ("fp32", "onnxruntime", ("fp32", "onnxruntime", HAS_GPU)),
        ("auto", "tensorrt", ("bf16", "tensorrt", True)),  # which runs nowhere else
        ("bf16", "auto", ("bf16", "auto", True)),  # ONNX Runtime has no bf16 on a CPU
        ("bf16", "torch", ("bf16", "torch", HAS_GPU)),
    ],
)
def test_what_is_chosen(opened, limits, precision, denoiser, wanted):
    target = choose_target(opened, Options(precision, denoiser, limits))
    assert target == Target(*wanted[:2], limits, (), wanted[2])


@pytest.mark.parametrize(
    ("denoiser", "kind"), [("tensorrt", "KIND_GPU"), ("torch", "KIND_GPU" if HAS_GPU else "KIND_CPU")]
)
def test_what_is_chosen_is_what_the_models_are_told(opened, limits, tmp_path, denoiser, kind):
    write_settings(opened, tmp_path, choose_target(opened, Options("bf16", denoiser, limits)))
    settings = json.loads((tmp_path / "alpamayo_denoiser" / "1" / "denoiser.json").read_text())
    assert (settings["runner"], settings["precision"]) == (denoiser, "bf16")
    for network in ("alpamayo_reasoner", "alpamayo_denoiser"):
        (group,) = config(tmp_path, network).instance_group
        assert group.kind == model_config_pb2.ModelInstanceGroup.Kind.Value(kind)


def test_what_runs_no_denoiser_is_refused(opened, limits):
    with pytest.raises(ExportError, match="--denoiser abacus: known are auto, tensorrt, onnxruntime, torch"):
        choose_target(opened, Options("fp32", "abacus", limits))


def test_an_embedding_table_that_is_the_output_layer_too_cannot_stay_in_host_memory(checkpoint, limits):
    opened = open_checkpoint(str(checkpoint))
    offload = Options("bf16", "torch", limits, offload=("embedding",))
    assert choose_target(opened, offload).offload == ("embedding",)
    opened.vlm.tie_word_embeddings = True
    with pytest.raises(ExportError, match=r"--offload embedding: .* nothing would be saved"):
        choose_target(opened, offload)
