"""The ensemble's models, each called on its own over gRPC with the golden vectors."""

import time

import numpy as np
import onnxruntime
import pytest
from tritonclient.utils import InferenceServerException

from .golden_case import CASES, golden_case
from .wire import ask, assert_same, texts

NO_DEADLINE = 2**63 - 1
RUNNER = f"onnxruntime {onnxruntime.__version__}, CPUExecutionProvider"


@pytest.fixture(scope="module")
def greedy(triton):
    case = golden_case("greedy")
    return ask(triton, case.inputs, case.parameters | {"seed": 1}, model="alpamayo_reasoner")


def denoise(triton, inputs, steps=10):
    return ask(triton, inputs, {"inference_steps": steps}, model="alpamayo_denoiser")["normalized_action"]


def drive(triton, case, actions, owners):
    inputs = {name: case.inputs[name] for name in ("ego_history_xyz", "ego_history_rot")}
    inputs |= {"normalized_action": actions, "action_owner": np.array(owners, np.int32)}
    return ask(triton, inputs, model="alpamayo_unicycle")


# The reasoner


@pytest.mark.parametrize("name", CASES)
def test_reasoner_prefills_the_prompt_once(triton, name):
    case = golden_case(name)
    parameters = {"num_traj_samples": 2, "max_generation_length": 2, "temperature": 0}
    got = ask(triton, case.inputs, parameters, model="alpamayo_reasoner")
    prompt = got["kv_owner"] == -1
    assert prompt.sum() == case.prompt_length
    np.testing.assert_allclose(got["kv_cache"][:, :, :, prompt], case["prompt_kv"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["greedy", "no_stop_token"])
def test_reasoner_packs_the_reference_s_kv(triton, name):
    case = golden_case(name)
    got = ask(triton, case.inputs, case.parameters, model="alpamayo_reasoner")
    owner = got["kv_owner"]
    assert sorted(set(owner.tolist())) == [-2, -1, *range(len(case.kv_lengths))]
    assert not got["kv_cache"][:, :, :, owner == -2].any()
    for i, length in enumerate(case.kv_lengths):
        assert (owner == i).sum() == length
        rows = got["kv_cache"][:, :, :, owner == i]
        np.testing.assert_allclose(rows, case["generated_kv"][:, i, :, :, :length], atol=1e-4, rtol=0)
    np.testing.assert_array_equal(got["action_owner"], np.arange(len(case.kv_lengths)))
    np.testing.assert_array_equal(got["action_position"], case.action_position)
    np.testing.assert_array_equal(got["reasoning_complete"], [[case.complete]])
    assert [[[text.decode() for text in got["cot"][0, 0]]]] == case.meta["cot"]


def test_reasoner_repeats_its_thoughts_set_after_set(triton, greedy):
    case = golden_case("greedy")
    got = ask(triton, case.inputs, case.parameters | {"num_traj_sets": 3, "seed": 1}, model="alpamayo_reasoner")
    np.testing.assert_array_equal(got["action_owner"], [0, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(got["action_position"], np.tile(greedy["action_position"], 3))
    assert got["cot"].shape == got["reasoning_complete"].shape == (1, 3, 2)
    np.testing.assert_array_equal(got["kv_cache"], greedy["kv_cache"])  # however many trajectories follow
    assert got["noise"].shape == (6, 64, 2)
    np.testing.assert_array_equal(got["noise"][:2], greedy["noise"])


def test_reasoner_hands_on_the_given_noise_and_draws_standard_normal_noise(triton):
    case = golden_case("no_stop_token")
    parameters = {"max_generation_length": 2, "num_traj_sets": 32, "seed": 1}
    drawn = ask(triton, case.inputs, parameters, model="alpamayo_reasoner")["noise"]
    assert abs(drawn.mean()) < 0.1
    assert abs(drawn.std() - 1) < 0.05
    given = ask(triton, case.inputs | {"noise": drawn[::-1].copy()}, parameters, model="alpamayo_reasoner")["noise"]
    np.testing.assert_array_equal(given, drawn[::-1])


def test_reasoner_hands_on_the_deadline(triton):
    case = golden_case("no_stop_token")
    before = time.monotonic_ns()
    got = ask(triton, case.inputs, {"max_generation_length": 2, "deadline_ms": 3_600_000}, model="alpamayo_reasoner")
    hour = 3_600 * 10**9
    assert before + hour <= got["deadline_ns"][0] <= time.monotonic_ns() + hour
    got = ask(triton, case.inputs, {"max_generation_length": 2}, model="alpamayo_reasoner")
    assert got["deadline_ns"].tolist() == [NO_DEADLINE]


def test_reasoner_packs_all_tokens_of_given_thoughts(triton):
    case = golden_case("no_stop_token")
    inputs = case.inputs | {"reasoning": texts(b"", b"Slow down.")}
    got = ask(triton, inputs, model="alpamayo_reasoner")
    lengths = [(got["kv_owner"] == i).sum() for i in range(2)]
    assert lengths[0] == 2  # <|cot_end|> and <|traj_future_start|>
    after_prompt = case.prompt_length + int(case["rope_deltas"][0, 0])
    np.testing.assert_array_equal(got["action_position"], after_prompt + np.array(lengths))
    assert got["cot"].tolist() == [[[b"", b"Slow down."]]]


# The denoiser


@pytest.mark.parametrize("name", CASES)
def test_denoiser_with_the_golden_kv(triton, name):
    case = golden_case(name)
    got = denoise(triton, case.packed(), case.meta["inference_step"])
    np.testing.assert_allclose(got, case["action"], atol=1e-3, rtol=0)


def test_denoiser_takes_one_euler_step(triton):
    case = golden_case("sampled")
    got = denoise(triton, case.packed(), steps=1)
    np.testing.assert_allclose(got, case["noise"] + case["denoise_v"][0], atol=1e-4, rtol=0)


def test_denoiser_never_attends_to_rows_that_nobody_owns(triton):
    packed = golden_case("sampled").packed()
    rows = np.random.default_rng(0).normal(size=(*packed["kv_cache"].shape[:3], 32, 16), scale=5)
    padded = packed | {
        "kv_cache": np.concatenate([packed["kv_cache"], rows.astype(np.float32)], axis=3),
        "kv_owner": np.append(packed["kv_owner"], np.full(32, -2, np.int32)),
    }
    np.testing.assert_allclose(denoise(triton, padded), denoise(triton, packed), atol=1e-4, rtol=0)


def test_denoiser_keeps_thoughts_apart(triton):
    packed = golden_case("sampled").packed()
    forgetful = packed["kv_cache"].copy()
    forgetful[:, :, :, packed["kv_owner"] == 1] = 0
    before, after = denoise(triton, packed), denoise(triton, packed | {"kv_cache": forgetful})
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    assert np.abs(after[1] - before[1]).max() > 1e-3


def test_denoiser_keeps_trajectories_of_one_thought_apart(triton):
    packed = golden_case("sampled").packed()
    of_one_thought = packed | {
        "action_owner": np.array([1, 1, 1], np.int32),
        "action_position": packed["action_position"][[1, 1, 1]],
        "noise": packed["noise"][[1, 0, 1]],
    }
    got = denoise(triton, of_one_thought)
    np.testing.assert_allclose(got[0], denoise(triton, packed)[1], atol=1e-4, rtol=0)
    np.testing.assert_allclose(got[2], got[0], atol=1e-4, rtol=0)
    assert np.abs(got[1] - got[0]).max() > 1e-2


# The unicycle


@pytest.mark.parametrize("name", CASES)
def test_unicycle_with_the_golden_actions(triton, name):
    case = golden_case(name)
    got = drive(triton, case, case["action"], range(len(case["action"])))
    np.testing.assert_allclose(got["pred_xyz"], case["pred_xyz"], atol=1e-3, rtol=0)
    np.testing.assert_allclose(got["pred_rot"], case["pred_rot"], atol=1e-3, rtol=0)
    np.testing.assert_allclose(got["action"], case.action, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(got["within_bounds"], case.within_bounds)


def test_unicycle_orders_by_set_and_sample(triton):
    case = golden_case("sampled")
    got = drive(triton, case, np.concatenate([case["action"], case["action"][::-1]]), [0, 1, 2, 0, 1, 2])
    assert got["pred_xyz"].shape == (1, 2, 3, 64, 3)
    np.testing.assert_array_equal(got["pred_xyz"][0, 1], got["pred_xyz"][0, 0, ::-1])
    np.testing.assert_allclose(got["pred_xyz"][:, :1], case["pred_xyz"], atol=1e-3, rtol=0)


def test_unicycle_reports_what_lies_outside_the_checkpoint_s_bounds(triton):
    case = golden_case("no_stop_token")
    actions = np.zeros((3, 64, 2), np.float32)
    actions[1, 40, 0] = -15  # 0.68 m/s2 each
    actions[2, 3, 1] = 13  # 0.026 1/m each
    assert drive(triton, case, actions, [0, 1, 2])["within_bounds"].tolist() == [[[True, False, False]]]


# All of them


def test_one_after_the_other_they_are_the_ensemble(triton):
    case = golden_case("sampled")
    parameters = {"num_traj_samples": 2, "num_traj_sets": 2, "max_generation_length": 6, "inference_steps": 3}
    parameters |= {"seed": 11}
    thoughts = ask(triton, case.inputs, parameters, model="alpamayo_reasoner")
    handed_on = ("kv_cache", "kv_checksum", "kv_owner", "action_owner", "action_position", "noise")
    actions = denoise(triton, {name: thoughts[name] for name in handed_on}, steps=3)
    answer = drive(triton, case, actions, thoughts["action_owner"])
    answer |= {name: thoughts[name] for name in ("cot", "reasoning_complete", "seed")}
    answer["denoiser_runner"] = texts(RUNNER.encode())
    assert_same(ask(triton, case.inputs, parameters), answer)


def test_a_kv_cache_that_was_damaged_on_its_way_is_refused_and_counted(triton, server):
    case = golden_case("sampled")
    thoughts = ask(triton, case.inputs, {"max_generation_length": 4, "seed": 3}, model="alpamayo_reasoner")
    names = ("kv_cache", "kv_checksum", "kv_owner", "action_owner", "action_position", "noise")
    sent = {name: thoughts[name] for name in names}
    before = refused_as_damaged(server)
    wanted = denoise(triton, sent, steps=2)
    damaged = sent | {"kv_cache": sent["kv_cache"].copy()}
    damaged["kv_cache"][1, 0, 0, 5] = 0
    with pytest.raises(InferenceServerException, match="damaged on its way"):
        denoise(triton, damaged, steps=2)
    np.testing.assert_array_equal(denoise(triton, sent, steps=2), wanted)
    assert refused_as_damaged(server) == before + 1


def refused_as_damaged(server) -> float:
    return server.metric("alpamayo_kv_cache_refused_total", model="alpamayo_denoiser", reason="damaged")


def test_an_answer_says_what_runs_the_denoiser(client):
    assert client.predict(*golden_case("sampled").scene, max_generation_length=2).denoiser_runner == RUNNER


def test_metrics_say_what_runs_the_denoiser(server):
    assert server.metric("alpamayo_denoiser_info", model="alpamayo_denoiser", runner=RUNNER, precision="fp32") == 1
