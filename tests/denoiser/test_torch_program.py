"""The step as torch.export keeps it: what is in the file, and what bf16 costs."""

import json
import zipfile

import torch
from alpamayo_export.denoiser_graph import load_step, write_torch
from alpamayo_export.export import open_checkpoint
from denoiser.request import DenoiserRequest
from denoiser.torch_runner import TorchRunner

CPU = torch.device("cpu")


def test_there_is_no_pickle_and_no_path_in_it(program):
    with zipfile.ZipFile(program) as archive:
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


def test_bf16_is_near_fp32(checkpoint, settings, golden, golden_request, program, tmp_path):
    opened = open_checkpoint(str(checkpoint))
    weights = opened.denoiser_weights()
    step = load_step(opened.config.action_in_proj, opened.expert, weights, torch.bfloat16, torch.float32)
    write_torch(step, settings.layers, settings.kv_heads, tmp_path / "denoiser.pt2")
    kv_cache = golden_request.kv_cache.bfloat16()
    half = DenoiserRequest(**{**vars(golden_request), "kv_cache": kv_cache})
    velocity, wanted = (
        TorchRunner(tmp_path / "denoiser.pt2", CPU).bind(half),
        TorchRunner(program, CPU).bind(golden_request),
    )
    for x, t in zip(golden["denoise_x"], golden["denoise_t"][:, 0].flatten().tolist(), strict=True):
        found, exact = velocity(x, t), wanted(x, t)
        assert found.dtype == torch.float32
        assert 0 < (found - exact).norm() / exact.norm() < 0.03
