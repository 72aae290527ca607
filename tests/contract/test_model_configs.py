"""The four `config.pbtxt`, of the tree and of an exported repository, held against the contract written out here."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

TREE = Path(__file__).resolve().parents[2] / "model_repository"

# name: type, dimensions (-1: any), and "optional"
IMAGES = {
    "image_frames": ("UINT8", [-1, -1, 3, -1, -1], "optional"),
    "encoded_frames": ("STRING", [-1, -1], "optional"),
}
# Required, but by the reasoner: the ensemble's scheduler has no good word for a missing input.
OPTIONAL_HISTORY = {
    "ego_history_xyz": ("FP32", [16, 3], "optional"),
    "ego_history_rot": ("FP32", [16, 3, 3], "optional"),
}
HISTORY = {"ego_history_xyz": ("FP32", [16, 3]), "ego_history_rot": ("FP32", [16, 3, 3])}
CHOICES = {"noise": ("FP32", [-1, 64, 2], "optional"), "reasoning": ("STRING", [-1], "optional")}
TRAJECTORIES = {
    "pred_xyz": ("FP32", [1, -1, -1, 64, 3]),
    "pred_rot": ("FP32", [1, -1, -1, 64, 3, 3]),
    "action": ("FP32", [1, -1, -1, 64, 2]),
    "within_bounds": ("BOOL", [1, -1, -1]),
}
THOUGHTS = {
    "cot": ("STRING", [1, -1, -1]),
    "reasoning_complete": ("BOOL", [1, -1, -1]),
    "seed": ("INT64", [1]),
}
PACKED = {
    "kv_cache": ("FP32", [-1, 2, -1, -1, -1]),
    "kv_owner": ("INT32", [-1]),
    "action_owner": ("INT32", [-1]),
    "action_position": ("INT32", [-1]),
    "noise": ("FP32", [-1, 64, 2]),
}
ACTIONS = {"normalized_action": ("FP32", [-1, 64, 2])}
RUNNER = {"denoiser_runner": ("STRING", [1])}

INPUTS = {
    "alpamayo": IMAGES | OPTIONAL_HISTORY | CHOICES,
    "alpamayo_reasoner": IMAGES | OPTIONAL_HISTORY | CHOICES,
    "alpamayo_denoiser": PACKED
    | {"kv_checksum": ("INT64", [-1, 2], "optional"), "deadline_ns": ("INT64", [1], "optional")},
    "alpamayo_unicycle": ACTIONS
    | {"action_owner": ("INT32", [-1])}
    | HISTORY
    | {"arrived_ns": ("INT64", [1], "optional")},
    "alpamayo_cancel": {"request_id": ("STRING", [1])},
}
OUTPUTS = {
    "alpamayo": TRAJECTORIES | THOUGHTS | RUNNER,
    "alpamayo_reasoner": PACKED
    | {"kv_checksum": ("INT64", [-1, 2]), "arrived_ns": ("INT64", [1]), "deadline_ns": ("INT64", [1])}
    | THOUGHTS,
    "alpamayo_denoiser": ACTIONS | RUNNER,
    "alpamayo_unicycle": TRAJECTORIES,
    "alpamayo_cancel": {"noted": ("BOOL", [1])},
}
STAGES = [model for model in INPUTS if model != "alpamayo"]


@pytest.fixture(scope="module", params=["tree", "exported"])
def contract(request):
    """Every model's configuration, and the dimensions of the KV cache in it."""
    exported = request.param == "exported"
    folder = request.getfixturevalue("repository") if exported else TREE
    texts = {model: (folder / model / "config.pbtxt").read_text() for model in INPUTS}
    configs = {model: text_format.Parse(text, pb.ModelConfig()) for model, text in texts.items()}
    return SimpleNamespace(configs=configs, kv_dims=[4, 2, 2, -1, 16] if exported else [-1, 2, -1, -1, -1])


def described(tensors) -> dict:
    return {
        tensor.name: (
            pb.DataType.Name(tensor.data_type).removeprefix("TYPE_"),
            list(tensor.dims),
            *(["optional"] if getattr(tensor, "optional", False) else []),
        )
        for tensor in tensors
    }


@pytest.mark.parametrize("model", INPUTS)
def test_inputs_and_outputs(contract, model):
    config = contract.configs[model]
    for found, wanted in ((config.input, INPUTS[model]), (config.output, OUTPUTS[model])):
        if "kv_cache" in wanted:
            wanted = wanted | {"kv_cache": ("FP32", contract.kv_dims)}
        assert described(found) == wanted
        assert len(found) == len(wanted)  # none twice


@pytest.mark.parametrize("model", INPUTS)
def test_requests_are_not_batched(contract, model):
    """A request is a scene; its first axes are its own."""
    config = contract.configs[model]
    assert config.name == model
    assert config.max_batch_size == 0
    assert not config.dynamic_batching.preferred_batch_size
    assert not config.HasField("sequence_batching")


@pytest.mark.parametrize("model", STAGES)
def test_stages_are_python_models_with_one_instance(contract, model):
    config = contract.configs[model]
    assert config.backend == "python"
    assert [group.count for group in config.instance_group] == [1]


@pytest.mark.parametrize("model", [model for model in STAGES if model != "alpamayo_cancel"])
def test_every_stage_has_a_bounded_queue_with_priorities(contract, model):
    queue = contract.configs[model].dynamic_batching
    assert (queue.priority_levels, queue.default_priority_level) == (3, 2)
    policy = queue.default_queue_policy
    assert (policy.max_queue_size, policy.default_timeout_microseconds) == (16, 60_000_000)
    assert policy.allow_timeout_override
    assert policy.timeout_action == policy.REJECT


def test_nobody_is_turned_away_who_gives_up(contract):
    assert not contract.configs["alpamayo_cancel"].HasField("dynamic_batching")


def test_the_kv_cache_stays_where_the_reasoner_left_it(contract):
    parameters = contract.configs["alpamayo_denoiser"].parameters
    assert parameters["FORCE_CPU_ONLY_INPUT_TENSORS"].string_value == "no"


def test_the_ensemble_s_steps_are_the_stages_in_their_order(contract):
    ensemble = contract.configs["alpamayo"]
    assert ensemble.platform == "ensemble"
    steps = ensemble.ensemble_scheduling.step
    assert [step.model_name for step in steps] == ["alpamayo_reasoner", "alpamayo_denoiser", "alpamayo_unicycle"]
    assert {step.model_version for step in steps} == {-1}


def producers(contract) -> dict[str, list]:
    """Ensemble tensor: the types and dimensions that it is produced with."""
    ensemble, made = contract.configs["alpamayo"], {}
    for name, tensor in described(ensemble.input).items():
        made.setdefault(name, []).append(tensor[:2])
    for step in ensemble.ensemble_scheduling.step:
        outputs = described(contract.configs[step.model_name].output)
        for output, name in step.output_map.items():
            made.setdefault(name, []).append(outputs[output][:2])
    return made


def test_every_ensemble_tensor_has_one_producer(contract):
    for name, made in producers(contract).items():
        assert len(made) == 1, name


def test_every_step_input_is_wired_with_its_type(contract):
    made = producers(contract)
    for step in contract.configs["alpamayo"].ensemble_scheduling.step:
        inputs = described(contract.configs[step.model_name].input)
        assert step.input_map.keys() == inputs.keys(), step.model_name
        for name, tensor in step.input_map.items():
            assert made[tensor] == [inputs[name][:2]], f"{step.model_name}.{name}"


def test_every_step_output_is_wired_and_every_ensemble_output_produced(contract):
    made = producers(contract)
    for step in contract.configs["alpamayo"].ensemble_scheduling.step:
        assert step.output_map.keys() == described(contract.configs[step.model_name].output).keys(), step.model_name
    for name, tensor in described(contract.configs["alpamayo"].output).items():
        assert made[name] == [tensor[:2]], name


def test_names_keep_their_meaning_through_the_ensemble(contract):
    """One name for one thing; only the noise that goes out is another tensor than the one that came in."""
    for step in contract.configs["alpamayo"].ensemble_scheduling.step:
        renamed = {(a, b) for a, b in [*step.input_map.items(), *step.output_map.items()] if a != b}
        assert renamed <= {("noise", "initial_noise")}
    reasoner, denoiser, _ = contract.configs["alpamayo"].ensemble_scheduling.step
    assert reasoner.input_map["noise"] == "noise"
    assert denoiser.input_map["noise"] == "initial_noise"


@pytest.mark.parametrize("model", STAGES)
def test_each_stage_has_a_model_that_compiles(model):
    path = TREE / model / "1" / "model.py"
    compile(path.read_text(), path, "exec")
