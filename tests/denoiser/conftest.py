"""The golden checkpoint's denoiser, as the exported graph and as the torch module it was exported from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from alpamayo_export.checkpoint import open_checkpoint
from alpamayo_export.denoiser import DenoisingStep
from alpamayo_export.denoiser_graph import load_step
from contract import PROMPT_OWNER
from cuda_graph import record
from denoiser.euler import Velocity
from denoiser.graph_inputs import graph_inputs
from denoiser.request import DenoiserRequest, DenoiserSettings
from denoiser.runner import Runner
from denoiser.runners import open_runner
from denoiser.velocity import Denoiser

Bind = Callable[[DenoiserRequest], Velocity]


@pytest.fixture(scope="session")
def denoiser_folder(repository: Path) -> Path:
    return repository / "alpamayo_denoiser" / "1"


@pytest.fixture(scope="session")
def settings(denoiser_folder: Path) -> DenoiserSettings:
    return DenoiserSettings.load(denoiser_folder)


@pytest.fixture(scope="session")
def step(checkpoint: Path) -> DenoisingStep:
    opened = open_checkpoint(str(checkpoint))
    weights = opened.denoiser_weights()
    return load_step(opened.config.action_in_proj, opened.expert, weights, torch.float32, torch.float32)


@pytest.fixture(scope="session")
def runners(denoiser_folder: Path, settings: DenoiserSettings) -> dict[str, Runner]:
    """Those that serve."""
    return {
        name: open_runner(denoiser_folder, torch.device("cpu"), replace(settings, runner=name))
        for name in ("onnxruntime", "torch")
    }


@pytest.fixture(scope="session", params=["onnxruntime", "torch"])
def denoiser(request: pytest.FixtureRequest, runners: dict[str, Runner], settings: DenoiserSettings) -> Denoiser:
    return Denoiser(runners[request.param], settings, record, print)


@pytest.fixture(scope="session")
def bind_module(step: DenoisingStep, settings: DenoiserSettings) -> Bind:
    """A request's velocity function of the module that was exported."""

    def bind(packed: DenoiserRequest) -> Velocity:
        _, _, *kv = graph_inputs(packed, settings).values()
        return lambda x, t: step(x, torch.tensor(t), *kv)

    return bind


@pytest.fixture(scope="session", params=["onnxruntime", "torch", "module"])
def bind(
    request: pytest.FixtureRequest, runners: dict[str, Runner], settings: DenoiserSettings, bind_module: Bind
) -> Bind:
    """A request's velocity function: of those that serve, and of the module that was exported."""
    if request.param == "module":
        return bind_module
    return Denoiser(runners[request.param], settings, record, print).bind


def pack_golden(golden: Any) -> DenoiserRequest:
    """The reference's KV, one copy of the prompt for each sample, as one packed sequence; sample i has thought i."""
    prompt_length, samples = golden["prompt_ids"].shape[1], golden.meta["num_traj_samples"]
    kv, owner, position = [golden["prompt_kv"]], [torch.full((prompt_length,), PROMPT_OWNER)], []
    for i in range(samples):
        stop = golden.meta["lengths"][i]
        tokens = golden["sequences_raw"].shape[1] - prompt_length if stop < 0 else stop + 1 - prompt_length
        rows = golden["generated_kv"][:, i][:, :, :, :tokens]  # without a stop token, the last one has none
        kv.append(rows)
        owner.append(torch.full((rows.shape[3],), i))
        position.append(prompt_length + tokens + int(golden["rope_deltas"][i, 0]))
    return DenoiserRequest(
        kv_cache=torch.cat(kv, dim=3),
        kv_owner=torch.cat(owner).int(),
        action_owner=torch.arange(samples, dtype=torch.int32),
        action_position=torch.tensor(position, dtype=torch.int32),
        noise=golden["noise"],
    )


@pytest.fixture(scope="session")
def golden_request(golden: Any) -> DenoiserRequest:
    """The golden case's."""
    return pack_golden(golden)


@pytest.fixture(scope="session")
def packed(golden_case: Callable[[str], Any]) -> DenoiserRequest:
    """Three thoughts of different lengths behind 1187 prompt tokens, a trajectory each."""
    return pack_golden(golden_case("sampled"))
