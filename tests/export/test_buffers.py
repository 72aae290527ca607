"""Buffers that a checkpoint may or may not store: stored ones win, absent ones are made as the reference makes them."""

from pathlib import Path

import pytest
import torch
from alpamayo_export.checkpoint import open_checkpoint
from alpamayo_export.denoiser import DenoisingStep, FourierFeatures
from alpamayo_export.denoiser_graph import load_step
from alpamayo_export.settings import action_space

FREQS = (
    "action_in_proj.sinus.0.freqs",
    "action_in_proj.sinus.1.freqs",
    "action_in_proj.timestep_fourier_encoder.freqs",
)
STATS = ("accel_mean", "accel_std", "curvature_mean", "curvature_std")


def without_buffers(tensors):
    for name in [*FREQS, *(f"action_space.{name}" for name in STATS)]:
        del tensors[name]


def load(folder: Path, dtype=torch.float32, model_dtype=torch.float32) -> DenoisingStep:
    opened = open_checkpoint(str(folder))
    return load_step(opened.config.action_in_proj, opened.expert, opened.denoiser_weights(), dtype, model_dtype)


def unicycle(folder: Path) -> dict:
    return action_space(open_checkpoint(str(folder)))


def test_absent_frequencies_are_the_stored_ones(copy):
    stored = load(copy.folder)
    made = load(copy.edit_weights(without_buffers).folder)
    for name in FREQS:
        torch.testing.assert_close(made.get_buffer(name), stored.get_buffer(name), rtol=1e-6, atol=0)


def test_absent_frequencies_are_rounded_to_the_model_s_type(copy):
    copy.edit_weights(without_buffers)
    exact, rounded = load(copy.folder), load(copy.folder, model_dtype=torch.bfloat16)
    for name in FREQS:
        assert exact.get_buffer(name)[0, 8].item() == pytest.approx(59.948, abs=1e-3)
        assert rounded.get_buffer(name)[0, 8].item() == 60
        assert rounded.get_buffer(name).dtype == torch.float32


def test_stored_frequencies_win(copy):
    def other(tensors):
        for name in FREQS:
            tensors[name] = tensors[name] * 1.003

    stored = load(copy.folder)
    for model_dtype in (torch.float32, torch.bfloat16):
        loaded = load(copy.edit_weights(other).folder, model_dtype=model_dtype)
        for name in FREQS:
            assert (loaded.get_buffer(name) / stored.get_buffer(name)).min() > 1.002
        stored = loaded


def test_only_the_expert_s_matrices_are_in_bf16(copy):
    step = load(copy.folder, dtype=torch.bfloat16)
    half = {name for name, tensor in step.state_dict().items() if tensor.dtype == torch.bfloat16}
    assert half == {name for name in step.state_dict() if name.startswith("expert.") and "_proj." in name}
    assert {tensor.dtype for name, tensor in step.state_dict().items() if name not in half} == {torch.float32}


def test_fourier_features():
    encoder = FourierFeatures(num_feats=6, max_freq=100.0)
    torch.testing.assert_close(encoder.freqs, torch.tensor([[1.0, 10.0, 100.0]]))
    features = encoder(torch.tensor([[0.0, 0.025]]))
    angle = 2 * torch.pi * 0.025 * encoder.freqs[0]
    torch.testing.assert_close(features[0, 0], 2**0.5 * torch.tensor([0.0, 0, 0, 1, 1, 1]))
    torch.testing.assert_close(features[0, 1], 2**0.5 * torch.cat([angle.sin(), angle.cos()]))


def test_absent_action_statistics_come_from_the_config(copy):
    space = unicycle(copy.edit_weights(without_buffers).folder)
    assert [space[name] for name in STATS] == pytest.approx(
        [0.02902694707164455, 0.6810426736454882, 0.0002692167976330542, 0.026148280660833106], rel=1e-7
    )


def test_absent_action_statistics_are_rounded_to_the_model_s_type(copy):
    copy.edit_weights(without_buffers).edit_config(lambda config: config.update(model_dtype="bfloat16"))
    space = unicycle(copy.folder)
    assert [space[name] for name in STATS] == [0.029052734375, 0.6796875, 0.00026893615722656250, 0.026123046875]


def test_stored_action_statistics_win(copy):
    stored = {name: 0.1 + i for i, name in enumerate(STATS)}

    def store(tensors):
        tensors |= {f"action_space.{name}": torch.tensor(value) for name, value in stored.items()}

    space = unicycle(copy.edit_weights(store).folder)
    assert {name: space[name] for name in STATS} == pytest.approx(stored)


def test_the_rest_of_the_action_space_is_the_config_s(checkpoint):
    space = unicycle(checkpoint)
    assert {name: value for name, value in space.items() if name not in STATS} == {
        "accel_bounds": (-9.8, 9.8),
        "curvature_bounds": (-0.33, 0.33),
        "dt": 0.1,
        "v_lambda": 1e-6,
        "v_ridge": 1e-4,
    }
