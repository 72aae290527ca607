"""The step as torch.export keeps it: what is in the file, and what bf16 costs."""

import json
import zipfile
from dataclasses import replace

import torch
from alpamayo_export.checkpoint import open_checkpoint
from alpamayo_export.denoiser_graph import load_step, write_graphs
from cuda_graph import record
from denoiser.torch_runner import TorchRunner
from denoiser.velocity import Denoiser


def test_there_is_no_pickle_and_no_path_in_it(denoiser_folder):
    with zipfile.ZipFile(denoiser_folder / "denoiser.pt2") as archive:
        (about_weights,) = (name for name in archive.namelist() if name.endswith("model_weights_config.json"))
        weights = json.loads(archive.read(about_weights))["config"].values()
        assert weights
        assert not any(weight["use_pickle"] for weight in weights)
        raw = {weight["path_name"] for weight in weights}
        for name in archive.namelist():
            content = archive.read(name)
            if name.rpartition("/")[2] not in raw:
                assert not content.startswith((b"PK", b"\x80")), name  # what torch.save writes
                assert b".py" not in content, name


def test_bf16_is_within_a_hundredth_of_fp32(checkpoint, settings, golden, golden_request, bind_module, tmp_path):
    """Relative L2 of every Euler step's velocity, from the reference's states."""
    opened = open_checkpoint(str(checkpoint))
    weights = opened.denoiser_weights()
    step = load_step(opened.config.action_in_proj, opened.expert, weights, torch.bfloat16, torch.float32)
    write_graphs(step, opened.expert, tmp_path)
    half = replace(golden_request, kv_cache=golden_request.kv_cache.bfloat16())
    runner = TorchRunner(tmp_path / "denoiser.pt2", torch.device("cpu"))
    velocity, wanted = Denoiser(runner, settings, record, print).bind(half), bind_module(golden_request)
    for x, t in zip(golden["denoise_x"], golden["denoise_t"][:, 0].flatten().tolist(), strict=True):
        found, exact = velocity(x, t), wanted(x, t)
        assert found.dtype == torch.float32
        assert 0 < (found - exact).norm() / exact.norm() < 1e-2
