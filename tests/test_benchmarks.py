"""What the benchmarks compare with computes the reference's answer, and the served one; what they were run on."""

import json

import numpy as np
import pytest
import torch
from alpamayo_demo.measured_on import describe, driver_version
from alpamayo_demo.served import served
from alpamayo_export.checkpoint import open_checkpoint
from reasoner.images import preprocess
from reasoner.prompt import PromptTokenizer
from reasoner.settings import ReasonerSettings

CPU = torch.device("cpu")
THOUGHT = 12


def drive(baseline, golden, tokens, steps, **more):
    config = baseline.checkpoint.config
    images = preprocess(golden["frames"].flatten(0, 1), config.min_pixels, config.max_pixels)
    return baseline(golden["prompt_ids"], *images, golden["noise"], tokens, steps, **more)


@pytest.fixture(scope="module")
def baseline(checkpoint):
    from baseline import Baseline

    return Baseline(open_checkpoint(str(checkpoint)), CPU, torch.float32)


@pytest.mark.parametrize("name", ["greedy", "no_stop_token"])
def test_the_baseline_drives_as_the_reference_does(baseline, golden_case, name):
    golden = golden_case(name)
    driven = drive(baseline, golden, golden.meta["max_generation_length"], golden.meta["inference_step"])
    assert (driven.action - golden["action"]).abs().max() < 1e-3
    generated = golden["sequences_raw"].shape[1] - golden["prompt_ids"].shape[1]
    # The reference generates one more after a stop token.
    assert driven.tokens == [generated - (name == "greedy")] * len(golden["noise"])


def test_a_thought_that_must_not_end_has_as_many_tokens_as_it_may(baseline, golden_case):
    assert drive(baseline, golden_case("greedy"), THOUGHT, 1, endless=True).tokens == [THOUGHT, THOUGHT]


def test_the_baseline_computes_in_the_type_it_is_told(checkpoint, golden_case):
    from baseline import Baseline

    half = Baseline(open_checkpoint(str(checkpoint)), CPU, torch.bfloat16)
    assert {it.dtype for it in (*half.vlm.parameters(), *half.expert.parameters())} == {torch.bfloat16}
    assert {it.dtype for it in (*half.action_in_proj.parameters(), *half.action_out_proj.parameters())} == {
        torch.float32
    }
    golden = golden_case("greedy")
    driven = drive(half, golden, 24, 10)
    assert driven.action.dtype == torch.float32
    assert 1e-4 < (driven.action - golden["action"]).abs().max() < 0.3  # bf16, and near


def test_the_baseline_drives_as_the_served_one_does(tiny, tiny_repository):
    """Random weights think as long as they may. Two steps: over more, such a network is chaotic."""
    from baseline import Baseline
    from scenes import made_up_scene

    scene = made_up_scene(120, 208)
    noise = np.random.default_rng(0).standard_normal((2, 64, 2)).astype(np.float32)
    history = scene.ego_history_xyz
    asked = {"num_traj_samples": 2, "top_k": 1, "max_generation_length": THOUGHT, "inference_steps": 2, "noise": noise}
    with served(tiny_repository) as client:
        answer = client.predict(scene.frames, history, scene.ego_history_rot, **asked)
    assert not answer.reasoning_complete.any()

    stage = tiny_repository / "alpamayo_reasoner" / "1"
    settings = ReasonerSettings.load(stage)
    images = torch.from_numpy(scene.frames).flatten(0, 1)
    pixel_values, grid = preprocess(images, settings.min_pixels, settings.max_pixels)
    prompt = PromptTokenizer(stage / "tokenizer.json", settings).prompt(grid, torch.from_numpy(history))
    baseline = Baseline(open_checkpoint(str(tiny)), CPU, torch.float32)
    driven = baseline(prompt, pixel_values, grid, torch.from_numpy(noise), THOUGHT, 2)
    assert driven.tokens == [THOUGHT] * 2
    space = json.loads((tiny_repository / "alpamayo_unicycle" / "1" / "unicycle.json").read_text())
    action = driven.action.numpy() * [space["accel_std"], space["curvature_std"]]
    action += [space["accel_mean"], space["curvature_mean"]]
    np.testing.assert_allclose(answer.action[0, 0], action, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024", "535.183.01"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (a@b)", "580.65.06"),
        ("GCC version:  gcc version 12.3.0", None),
    ],
)
def test_the_driver_is_named(text, version):
    assert driver_version(text) == version


def test_without_a_gpu_there_is_no_driver(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    machine = describe()
    assert machine["gpu"] is machine["driver"] is None
    assert "cuda" in machine["versions"]
