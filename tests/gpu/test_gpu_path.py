"""The golden cases through the GPU path: float32 equals the reference, bf16 stays near it, no cache goes astray."""

import re
import shutil

import numpy as np
import pytest
import torch
from alpamayo_client import AlpamayoClient, AlpamayoError
from alpamayo_export.repository import FLAGS
from contract import Parameters
from cuda_graph import record
from denoiser.euler import denoise
from denoiser.request import DenoiserRequest, DenoiserSettings
from denoiser.runners import open_runner
from denoiser.velocity import Denoiser
from end_to_end.golden_case import CASES, WITHOUT_CHANCE, golden_case
from end_to_end.live_server import live_server
from reasoner.reasoner import Reasoner
from reasoner.request import ReasonerRequest

GPU = torch.device("cuda")


@pytest.fixture(params=CASES)
def case(request):
    return golden_case(request.param)


def test_float32_trajectories_are_the_reference_s(exported, tmp_path):
    """Each twice in a row: the second time, steps are recorded ones."""
    with live_server(exported("fp32", "auto"), tmp_path) as server, AlpamayoClient(server.grpc) as client:
        for name in WITHOUT_CHANCE:
            case = golden_case(name)
            for _ in range(2):
                prediction = client.predict(*case.scene, **case.parameters, noise=case["noise"])
                np.testing.assert_allclose(prediction.pred_xyz, case["pred_xyz"], atol=1e-3, rtol=0)
                np.testing.assert_array_equal(prediction.cot, case.meta["cot"])
        assert "without a CUDA graph" not in server.log.read_text()


def test_a_pool_that_is_too_small_is_an_error_that_names_the_flag(exported, tmp_path):
    """Triton takes the KV cache through host memory then, without a word."""
    starved = tmp_path / "repository"
    shutil.copytree(exported("fp32", "auto"), starved)
    flags, count = re.subn(r"(?<=--cuda-memory-pool-byte-size=0:)\d+", "65536", (starved / FLAGS).read_text())
    assert count == 1
    (starved / FLAGS).write_text(flags)
    case = golden_case("greedy")
    refusal = pytest.raises(AlpamayoError, match="--cuda-memory-pool-byte-size")
    with live_server(starved, tmp_path) as server, AlpamayoClient(server.grpc) as client, refusal:
        client.predict(*case.scene, **case.parameters)


@pytest.mark.parametrize("runner", ["tensorrt", "torch"])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 1e-2)])
def test_every_step_s_velocity_is_near_the_reference_s(exported, case, runner, precision, tolerance):
    """Relative L2 of each step by itself, from the reference's x; as it comes, recorded, and replayed."""
    folder = exported(precision, runner) / "alpamayo_denoiser" / "1"
    settings = DenoiserSettings.load(folder)
    said = []
    denoiser = Denoiser(open_runner(folder, GPU, settings), settings, record, said.append)
    packed = {name: torch.from_numpy(array).to(GPU) for name, array in case.packed().items()}
    packed["kv_cache"] = packed["kv_cache"].to({"fp32": torch.float32, "bf16": torch.bfloat16}[precision])
    request = DenoiserRequest(**packed)
    wanted = torch.from_numpy(case["denoise_v"]).to(GPU)
    for _ in range(3):
        velocity, x = denoiser.bind(request), request.noise
        for step, reference in enumerate(wanted):
            found = velocity(x, step / len(wanted))
            assert (found - reference).norm() / reference.norm() < tolerance
            x = x + reference / len(wanted)
        action = denoise(denoiser.bind(request), request.noise, len(wanted))
        assert (action - torch.from_numpy(case["action"]).to(GPU)).abs().max() < 100 * tolerance
    assert said == []


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("bf16", 5e-2)])
def test_teacher_forced_logits_are_near_the_cpu_s(exported, reference_logits, case, precision, tolerance):
    """Relative L2, after every token of the reference's thoughts; with recorded steps, and with none."""
    for recorder in (None, record):
        said = []
        reasoner = Reasoner(exported(precision, "torch") / "alpamayo_reasoner" / "1", GPU, recorder, said.append)
        found, wanted = teacher_forced(reasoner, case).cpu(), reference_logits(case)
        finite = wanted.isfinite()
        assert torch.equal(found.isfinite(), finite)
        error = (found[finite] - wanted[finite]).norm() / wanted[finite].norm()
        assert error < tolerance
        assert not [line for line in said if "without a CUDA graph" in line]


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 2e-2)])
def test_thoughts_decoded_together_have_the_logits_of_each_alone(exported, precision, tolerance):
    """Relative L2, with recorded steps. What little a thought saw of another, only float32 would show."""
    case = golden_case("sampled")
    reasoner = Reasoner(exported(precision, "torch") / "alpamayo_reasoner" / "1", GPU, record)
    thoughts = range(case.meta["num_traj_samples"])
    together = teacher_forced(reasoner, case)
    for i in thoughts:
        steps = case.kv_lengths[i]  # behind a thought's end its logits are of no use
        found, alone = together[:steps, i], teacher_forced(reasoner, case, [i])[:steps, 0]
        finite = alone.isfinite()
        assert (found[finite] - alone[finite]).norm() / alone[finite].norm() < tolerance


@pytest.fixture
def reference_logits(repository):
    reasoner = Reasoner(repository / "alpamayo_reasoner" / "1", torch.device("cpu"))
    return lambda case: teacher_forced(reasoner, case)


@torch.inference_mode()
def teacher_forced(reasoner, case, chosen=None):
    """(tokens, K, vocabulary): logits before each of the reference's tokens, of all its thoughts or the chosen ones."""
    tokens = torch.from_numpy(case["sequences_raw"][:, case.prompt_length :])
    tokens = tokens if chosen is None else tokens[chosen]
    thoughts, length = len(tokens), case.meta["max_generation_length"]
    request = ReasonerRequest(
        images=list(np.concatenate(case["frames"])),
        ego_history_xyz=case["ego_history_xyz"][0, 0],
        num_traj_samples=thoughts,
        max_generation_length=length,
        parameters=Parameters(),
    )
    seen = []

    def sample(logits, s):
        seen.append(logits.clone())
        return tokens[:, s].to(logits.device)

    prefilled = reasoner.prefill(reasoner.look(request), thoughts, length)
    reasoner.generate(prefilled, min(length, tokens.shape[1]), sample)
    return torch.stack(seen)
