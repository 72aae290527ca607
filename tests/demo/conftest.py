"""Scenes of noise, and a student that has learnt nothing."""

import numpy as np
import pytest
import torch
from alpamayo_demo.road.situations import Situation
from alpamayo_demo.train import cli, practice, training
from alpamayo_demo.train.checkpoint import write_configs
from alpamayo_demo.train.scenes_on_disk import ALTERNATIVES
from alpamayo_demo.train.student import Student
from alpamayo_export.checkpoint import open_checkpoint
from alpamayo_export.denoiser import DenoisingStep
from denoiser.graph_inputs import graph_inputs
from denoiser.request import DenoiserRequest, DenoiserSettings

COUNT = len(Situation)


@pytest.fixture(scope="module")
def scenes():
    """Noise in the shape of scenes: what they show is not what is tested here."""
    random = np.random.default_rng(0)
    history = np.zeros((COUNT, 16, 3), np.float32)
    history[..., 0] = np.linspace(-1.5, 0, 16) * random.uniform(0, 12, (COUNT, 1))
    return {
        "image_frames": random.integers(0, 256, (COUNT, 2, 2, 3, 96, 160), np.uint8),
        "ego_history_xyz": history,
        "action": random.normal(size=(COUNT, 64, 2)).astype(np.float32),
        "situation": np.arange(COUNT),
        "other_action": random.normal(size=(COUNT, ALTERNATIVES, 64, 2)).astype(np.float32),
        "other_situation": (np.arange(COUNT)[:, None] + [1, 2, 3]) % COUNT,
    }


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("untrained")
    torch.manual_seed(0)
    write_configs(folder)
    cli.write_random_weights(folder)
    return open_checkpoint(str(folder))


@pytest.fixture(scope="module")
def student(untrained):
    torch.manual_seed(1)
    student = Student.of(untrained).eval()
    torch.nn.init.normal_(student.action_out_proj.weight)
    return student


@pytest.fixture
def short_practice(monkeypatch):
    """Two plans on each of two routes, and two steps after them."""
    monkeypatch.setattr(practice, "ROUTES", 2)
    monkeypatch.setattr(practice, "SECONDS", 1.0)
    monkeypatch.setattr(training, "ROUND_STEPS", 2)


@pytest.fixture
def served_step(student, untrained):
    """The student's denoising step as it is served: (x, t, and the contract's tensors) to the velocity."""
    step = DenoisingStep(untrained.config.action_in_proj, untrained.expert)
    weights = {name: x for name, x in student.state_dict().items() if not name.startswith("vlm.")}
    step.load_state_dict(weights, strict=True)
    expert = untrained.expert
    settings = DenoiserSettings(
        "torch", "fp32", expert.num_hidden_layers, expert.num_attention_heads, expert.num_key_value_heads,
        expert.head_dim, expert.rope_parameters["rope_theta"], max_kv_tokens=1000, max_trajectories=32,
    )  # fmt: skip

    def velocity(x, t, kv_cache, kv_owner, action_owner, action_position):
        request = DenoiserRequest(kv_cache, kv_owner, action_owner, action_position, x)
        _, _, *kv = graph_inputs(request, settings).values()
        return step(x, t, *kv)

    return velocity
