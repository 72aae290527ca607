"""What `/metrics` says of requests that were made to say it."""

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from .golden_case import golden_case
from .wire import ask, texts

SCENE = golden_case("greedy")
MODELS = ("alpamayo_reasoner", "alpamayo_denoiser", "alpamayo_unicycle")
STAGES = {
    "alpamayo_reasoner": ("decode_images", "preprocess", "prefill", "decode"),
    "alpamayo_denoiser": ("denoise",),
    "alpamayo_unicycle": ("unicycle", "end_to_end"),
}


class Change:
    """By how much metrics have changed since this was made."""

    def __init__(self, server):
        self.server, self.before = server, self.now(server)

    @staticmethod
    def now(server):
        return {(it.name, frozenset(it.labels.items())): it.value for it in server.scrape()}

    def of(self, name, **labels):
        """Of the sum of all samples of that name with those labels, and perhaps others."""
        now = self.now(self.server)
        fitting = [key for key in now if key[0] == name and frozenset(labels.items()) <= key[1]]
        assert fitting, (name, labels)
        return sum(now[key] - self.before.get(key, 0) for key in fitting)


@pytest.fixture
def change(server):
    return Change(server)


def refused(triton, inputs, parameters=None, **model):
    with pytest.raises(InferenceServerException):
        ask(triton, inputs, parameters, **model)


def test_an_answer(triton, change):
    parameters = {"num_traj_samples": 2, "num_traj_sets": 3, "max_generation_length": 4, "inference_steps": 2}
    ask(triton, SCENE.inputs, {**parameters, "top_k": 1})
    for model in MODELS:
        assert change.of("alpamayo_requests_total", model=model) == 1
        assert change.of("alpamayo_requests_total", model=model, outcome="answered") == 1
        for stage in STAGES[model]:
            assert change.of("alpamayo_stage_seconds_count", model=model, stage=stage) == 1
            assert 0 < change.of("alpamayo_stage_seconds_sum", model=model, stage=stage) < 60
            assert change.of("alpamayo_stage_seconds_bucket", model=model, stage=stage, le="+Inf") == 1
    assert change.of("alpamayo_tokens_total", origin="generated") == 8
    assert change.of("alpamayo_thoughts_total", complete="false") == 2  # the golden scene's have 9 tokens
    assert change.of("alpamayo_thoughts_total", complete="true") == 0
    assert change.of("alpamayo_trajectories_total") == 6
    assert change.of("alpamayo_kv_caches_total", memory="host") == 1
    rows = change.of("alpamayo_kv_cache_bytes_total", memory="host") / (4 * 2 * 2 * 16 * 4)
    assert rows > len(SCENE["prompt_ids"][0])
    assert rows % 256 == 0  # whole buckets
    assert change.of("alpamayo_kv_caches_total", memory="gpu") == 0


def test_the_stages_are_shares_of_the_whole(triton, change):
    ask(triton, SCENE.inputs, {"top_k": 1, "max_generation_length": 24})
    stages = [(model, stage) for model in MODELS for stage in STAGES[model] if stage != "end_to_end"]
    parts = sum(change.of("alpamayo_stage_seconds_sum", model=model, stage=stage) for model, stage in stages)
    whole = change.of("alpamayo_stage_seconds_sum", stage="end_to_end")
    assert 0.5 * whole < parts < whole


def test_thoughts_that_are_complete_or_given(triton, change):
    ask(triton, SCENE.inputs, {"top_k": 1, "max_generation_length": 24, "inference_steps": 1})
    assert change.of("alpamayo_thoughts_total", complete="true") == 1
    generated = change.of("alpamayo_tokens_total", origin="generated")
    assert generated == SCENE.kv_lengths[0]
    given = SCENE.inputs | {
        "reasoning": ask(triton, SCENE.inputs, {"top_k": 1, "max_generation_length": 24})["cot"][0, 0]
    }
    before = change.of("alpamayo_thoughts_total")
    ask(triton, given, {"inference_steps": 1})
    assert change.of("alpamayo_thoughts_total") == before  # the model's own
    assert change.of("alpamayo_tokens_total", origin="generated") == 2 * generated
    assert change.of("alpamayo_tokens_total", origin="given") > 0


def test_thoughts_of_both_kinds_in_one_request(triton, change):
    """The model's own come first."""
    given = SCENE.inputs | {"reasoning": texts(b"")}  # its end only
    ask(triton, given, {"num_traj_samples": 3, "top_k": 1, "max_generation_length": 24, "inference_steps": 1})
    assert change.of("alpamayo_tokens_total", origin="generated") == 2 * SCENE.kv_lengths[0]
    assert 0 < change.of("alpamayo_tokens_total", origin="given") < SCENE.kv_lengths[0]
    assert change.of("alpamayo_thoughts_total", complete="true") == 2
    assert change.of("alpamayo_thoughts_total", complete="false") == 0


def test_trajectories_out_of_bounds(triton, change):
    case = golden_case("no_stop_token")
    action = case["action"].copy()
    action[0, 40, 0] = -15
    history = {name: case.inputs[name] for name in ("ego_history_xyz", "ego_history_rot")}
    owners = case.packed()["action_owner"]
    ask(triton, {"normalized_action": action, "action_owner": owners, **history}, model="alpamayo_unicycle")
    outside = change.of("alpamayo_trajectories_total", within_bounds="false")
    assert 1 <= outside
    assert outside + change.of("alpamayo_trajectories_total", within_bounds="true") == len(action)
    assert change.of("alpamayo_stage_seconds_count", stage="unicycle") == 1
    assert change.of("alpamayo_stage_seconds_count", stage="end_to_end") == 0  # nobody said when it began


@pytest.mark.parametrize(
    ("reason", "inputs", "parameters"),
    [
        ("ego_history_xyz", {"ego_history_xyz": SCENE.inputs["ego_history_xyz"] + 400}, {}),
        ("ego_history_rot", {"ego_history_rot": None}, {}),
        ("image_frames", {"image_frames": None}, {}),
        ("temperature", {}, {"temperature": -1.0}),
        ("num_traj_sets", {}, {"num_traj_sets": 99}),
        ("num_traj_samples", {}, {"num_traj_samples": 600}),
        ("unknown_parameter", {}, {"num_samples": 6}),
    ],
)
def test_a_refusal(triton, change, reason, inputs, parameters):
    refused(triton, SCENE.inputs | inputs, parameters)
    assert change.of("alpamayo_requests_total", model="alpamayo_reasoner", outcome="refused") == 1
    assert change.of("alpamayo_refused_total", model="alpamayo_reasoner", reason=reason) == 1
    assert change.of("alpamayo_refused_total") == 1
    assert change.of("alpamayo_stage_seconds_count") == 0


@pytest.mark.parametrize(
    "inputs",
    [
        {"ego_history_xyz": SCENE.inputs["ego_history_xyz"].astype(np.float64)},
        {"ego_history_xyz": SCENE.inputs["ego_history_xyz"][None]},
        {"lidar": np.zeros(1, np.float32)},
    ],
    ids=["type", "rank", "name"],
)
def test_what_triton_itself_refuses_is_nowhere(triton, change, inputs):
    refused(triton, SCENE.inputs | inputs)
    assert change.of("alpamayo_requests_total") == 0
    assert change.of("nv_inference_request_failure") == 0


def test_a_time_of_arrival_that_cannot_be(triton, change):
    case = golden_case("greedy")
    actions = {"normalized_action": case["action"], "action_owner": case.packed()["action_owner"]}
    history = {name: case.inputs[name] for name in ("ego_history_xyz", "ego_history_rot")}
    for arrived_ns in (2**62, 0, -1):
        refused(triton, actions | history | {"arrived_ns": np.array([arrived_ns])}, model="alpamayo_unicycle")
    assert change.of("alpamayo_refused_total", model="alpamayo_unicycle", reason="arrived_ns") == 3
    assert change.of("alpamayo_stage_seconds_sum", stage="end_to_end") == 0


def test_a_deadline(triton, change):
    refused(triton, SCENE.inputs, {"deadline_ms": 0})
    assert change.of("alpamayo_requests_total", model="alpamayo_reasoner", outcome="cancelled") == 1
    assert change.of("alpamayo_requests_total") == 1


def test_a_failure(triton, change):
    refused(triton, SCENE.packed() | {"kv_checksum": np.ones((4, 2), np.int64)}, model="alpamayo_denoiser")
    assert change.of("alpamayo_requests_total", model="alpamayo_denoiser", outcome="failed") == 1
    assert change.of("alpamayo_kv_cache_refused_total") == 1
