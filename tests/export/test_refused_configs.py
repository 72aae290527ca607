"""Configs that cannot be exported: each is refused with what is wrong, by name."""

import pytest
from alpamayo_export.checkpoint import open_checkpoint
from alpamayo_export.errors import ExportError
from checkpoint_copy import drop, put

PARTS = {
    "action_in_proj_cfg": "PerWaypointActionInProjV2",
    "action_out_proj_cfg": "Linear",
    "action_space_cfg": "UnicycleAccelCurvatureActionSpace",
    "diffusion_cfg": "FlowMatching",
    "hist_traj_tokenizer_cfg": "DeltaTrajectoryTokenizer",
    "traj_tokenizer_cfg": "DiscreteTrajectoryTokenizer",
}


def test_the_golden_checkpoint_is_whole(checkpoint):
    opened = open_checkpoint(str(checkpoint))
    assert opened.folder == checkpoint
    assert opened.vlm_folder == checkpoint / "vlm"
    assert opened.config.action_space.accel_bounds == (-9.8, 9.8)
    assert opened.expert.hidden_size == 32
    assert opened.expert.num_hidden_layers == 4


# config.json


def test_no_such_folder(tmp_path):
    with pytest.raises(ExportError, match="nowhere"):
        open_checkpoint(str(tmp_path / "nowhere"))


def test_no_config(copy):
    (copy.folder / "config.json").unlink()
    assert "config.json does not exist" in copy.refusal()


@pytest.mark.parametrize("text", ["", "{", "{'model_type': 1}"])
def test_a_config_that_is_no_json(copy, text):
    (copy.folder / "config.json").write_text(text)
    assert "config.json is no JSON" in copy.refusal()


def test_a_config_that_is_no_object(copy):
    (copy.folder / "config.json").write_text("[]")
    assert "must hold a JSON object, it holds a list" in copy.refusal()


@pytest.mark.parametrize(
    ("key", "value", "known"),
    [
        ("model_type", "qwen3_vl", "alpamayo_r1"),
        ("model_type", None, "alpamayo_r1"),
        ("vlm_backend", "internvl3", "qwenvl3"),
        ("expert_non_causal_attention", False, "True"),
        ("tokens_per_history_traj", 64, "48"),
    ],
)
def test_what_this_project_does_not_compute(copy, key, value, known):
    message = copy.edit_config(put(value, key)).refusal()
    assert f"{key} is {value!r}" in message
    assert known in message


@pytest.mark.parametrize(("part", "known"), PARTS.items())
def test_an_unknown_target_is_named(copy, part, known):
    message = copy.edit_config(put("somewhere.else.Diffusion9", part, "_target_")).refusal()
    assert f"{part}._target_ is 'somewhere.else.Diffusion9'" in message
    assert known in message


@pytest.mark.parametrize(("part", "known"), PARTS.items())
def test_a_target_is_known_by_its_last_component(copy, part, known):
    for target in (known, f"renamed_package.{known}"):
        copy.edit_config(put(target, part, "_target_"))
        open_checkpoint(str(copy.folder))


@pytest.mark.parametrize("target", [None, 7, ""])
def test_no_target(copy, target):
    assert "_target_" in copy.edit_config(put(target, "diffusion_cfg", "_target_")).refusal()


@pytest.mark.parametrize(
    "path",
    [
        ("model_type",),
        ("vlm_name_or_path",),
        ("model_dtype",),
        ("vocab_size",),
        ("traj_vocab_size",),
        ("traj_token_start_idx",),
        ("traj_token_ids",),
        ("traj_token_ids", "history"),
        ("traj_token_ids", "future_start"),
        ("add_special_tokens",),
        ("min_pixels",),
        ("max_pixels",),
        ("expert_cfg",),
        *[(part,) for part in PARTS],
        ("traj_tokenizer_cfg", "num_bins"),
        ("action_in_proj_cfg", "hidden_size"),
        ("action_in_proj_cfg", "max_freq"),
        ("action_in_proj_cfg", "num_enc_layers"),
        ("action_in_proj_cfg", "num_fourier_feats"),
        *[("action_space_cfg", f"{what}_{stat}") for what in ("accel", "curvature") for stat in ("mean", "std")],
        ("action_space_cfg", "accel_bounds"),
        ("action_space_cfg", "curvature_bounds"),
        ("action_space_cfg", "dt"),
        ("action_space_cfg", "n_waypoints"),
        ("action_space_cfg", "v_lambda"),
        ("action_space_cfg", "v_ridge"),
        ("hist_traj_tokenizer_cfg", "ego_xyz_min"),
        ("hist_traj_tokenizer_cfg", "ego_xyz_max"),
        ("hist_traj_tokenizer_cfg", "num_bins"),
    ],
)
def test_a_missing_key_is_named(copy, path):
    """Nothing is filled in from a default in code."""
    message = copy.edit_config(drop(*path)).refusal()
    assert f"{path[-1]} " in message
    assert " is None" in message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("vocab_size",), "4442"),
        (("vocab_size",), True),
        (("min_pixels",), 1.5),
        (("add_special_tokens",), 1),
        (("expert_cfg",), []),
        (("action_space_cfg", "accel_mean"), "0.02"),
        (("action_space_cfg", "accel_bounds"), [-9.8]),
        (("action_space_cfg", "curvature_bounds"), [-0.33, "0.33"]),
        (("hist_traj_tokenizer_cfg", "ego_xyz_min"), -4),
        (("diffusion_cfg",), "FlowMatching"),
    ],
)
def test_a_value_of_a_wrong_type_is_named(copy, path, value):
    message = copy.edit_config(put(value, *path)).refusal()
    assert path[-1] in message
    assert repr(value) in message


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("diffusion_cfg", "int_method"), "heun", "'heun'"),
        (("hist_traj_tokenizer_cfg", "predict_yaw"), True, "predict_yaw is true"),
        (("action_space_cfg", "n_waypoints"), 32, "n_waypoints is 32; the contract has 64"),
        (("action_space_cfg", "dt"), 0.2, "dt is 0.2 s"),
    ],
)
def test_settings_that_the_contract_rules_out(copy, path, value, words):
    assert words in copy.edit_config(put(value, *path)).refusal()


def test_a_diffusion_without_a_method_is_euler_s(copy):
    """The released config names none."""
    open_checkpoint(str(copy.edit_config(drop("diffusion_cfg", "int_method")).folder))


# The vision-language model's folder


def test_the_vlm_folder_may_be_absolute(copy, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    copy.vlm.rename(elsewhere)
    copy.edit_config(put(str(elsewhere), "vlm_name_or_path"))
    assert open_checkpoint(str(copy.folder)).vlm_folder == elsewhere


def test_a_missing_vlm_folder(copy):
    copy.vlm.rename(copy.folder / "renamed")
    message = copy.refusal()
    assert str(copy.vlm) in message
    assert "vlm_name_or_path" in message


def test_another_vlm(copy):
    (copy.vlm / "config.json").write_text('{"model_type": "qwen2"}')
    assert "holds a qwen2 model; wanted qwen3_vl" in copy.refusal()


@pytest.mark.parametrize("text", ['{"model_type": "nobody_knows"}', "{}", "{"])
def test_a_vlm_that_transformers_does_not_know(copy, text):
    (copy.vlm / "config.json").write_text(text)
    assert str(copy.vlm) in copy.refusal()


def test_a_vlm_without_a_config(copy):
    (copy.vlm / "config.json").unlink()
    assert str(copy.vlm) in copy.refusal()


@pytest.mark.parametrize("settings", [{"factor": 2.0}, {}])  # the second is not even a valid one
def test_scaled_rope(copy, settings):
    rope = {"rope_type": "yarn", "mrope_section": [4, 2, 2], **settings}
    copy.edit_config(put(rope, "text_config", "rope_scaling"), "vlm/config.json")
    message = copy.refusal()
    assert str(copy.vlm) in message
    assert "yarn" in message


@pytest.mark.parametrize(("key", "value"), [("num_hidden_layers", 3), ("num_key_value_heads", 4), ("head_dim", 8)])
def test_an_expert_that_could_not_attend_to_the_kv_cache(copy, key, value):
    message = copy.edit_config(put(value, "expert_cfg", key)).refusal()
    assert f"expert_cfg.{key} is {value}" in message
    assert "KV cache" in message


@pytest.mark.parametrize(
    ("part", "key", "value", "words"),
    [
        ("expert_cfg", "hidden_act", "gelu", "hidden_act 'gelu'; known is 'silu'"),
        ("expert_cfg", "foo", 1, "['foo']"),
        ("expert_cfg", "hidden_size", "abc", "expert_cfg makes no text config"),
        ("diffusion_cfg", "num_inference_steps", 20, "diffusion_cfg.num_inference_steps is 20"),
        ("diffusion_cfg", "foo", "bar", "diffusion_cfg.foo is 'bar'"),
        ("action_space_cfg", "accel_mean", float("nan"), "accel_mean must be a float, it is nan"),
        ("action_space_cfg", "accel_bounds", [9.8, -9.8], "accel_bounds and curvature_bounds in order"),
        ("hist_traj_tokenizer_cfg", "num_bins", 1001, "at most traj_vocab_size"),
        (None, "min_pixels", 196609, "0 < min_pixels <= max_pixels"),
        (None, "max_pixels", -1, "0 < min_pixels <= max_pixels"),
    ],
)
def test_settings_that_would_compute_something_else(copy, part, key, value, words):
    copy.edit_config(lambda config: (config[part] if part else config).update({key: value}))
    assert words in copy.refusal()
