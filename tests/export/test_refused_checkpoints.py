"""Checkpoints that cannot be exported: each is refused with what is wrong, by name."""

import pytest
import torch
from alpamayo_export.checkpoint import open_checkpoint
from alpamayo_export.errors import ExportError
from alpamayo_export.vlm import build_tokenizer, render_prompt

PARTS = {
    "action_in_proj_cfg": "PerWaypointActionInProjV2",
    "action_out_proj_cfg": "Linear",
    "action_space_cfg": "UnicycleAccelCurvatureActionSpace",
    "diffusion_cfg": "FlowMatching",
    "hist_traj_tokenizer_cfg": "DeltaTrajectoryTokenizer",
    "traj_tokenizer_cfg": "DiscreteTrajectoryTokenizer",
}


def put(value, *path):
    """An edit: config[path] = value."""

    def edit(config):
        for key in path[:-1]:
            config = config[key]
        config[path[-1]] = value

    return edit


def drop(*path):
    """An edit: del config[path]."""

    def edit(config):
        for key in path[:-1]:
            config = config[key]
        del config[path[-1]]

    return edit


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
    assert path[-1] in copy.edit_config(drop(*path)).refusal()


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


# Weights


def test_no_weights(copy):
    (copy.folder / "model.safetensors").unlink()
    assert "holds no *.safetensors" in copy.refusal()


def test_truncated_weights(copy):
    path = copy.folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100_000])
    message = copy.refusal()
    assert str(path) in message
    assert "cannot be read" in message


def test_a_missing_shard(copy):
    copy.shard(lambda name: "a.safetensors" if name.startswith("vlm.") else "b.safetensors")
    (copy.folder / "b.safetensors").unlink()
    assert "is not whole: b.safetensors of its index is not there" in copy.refusal()


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_broken_index(copy, text):
    (copy.folder / "model.safetensors.index.json").write_text(text)
    assert "model.safetensors.index.json" in copy.refusal()


def test_every_weight_that_does_not_fit_is_listed(copy):
    def spoil(tensors):
        del tensors["expert.norm.weight"]
        del tensors["vlm.lm_head.weight"]
        tensors["expert.embed_tokens.weight"] = torch.zeros(7, 32)
        tensors["other"] = torch.zeros(())
        tensors["action_out_proj.weight"] = torch.zeros(3, 32)
        tensors["vlm.model.language_model.norm.weight"] = torch.zeros(63)

    message = copy.edit_weights(spoil).refusal()
    assert "6 weights do not fit" in message
    for line in (
        "missing: expert.norm.weight [32]",
        "missing: vlm.lm_head.weight [4442, 64]",
        "unknown: expert.embed_tokens.weight [7, 32]",
        "unknown: other []",
        "shape: action_out_proj.weight is [3, 32], the config makes it [2, 32]",
        "shape: vlm.model.language_model.norm.weight is [63], the config makes it [64]",
    ):
        assert f"\n  {line}" in message
    assert message.count("\n") == 6


def test_a_config_of_another_size_than_the_weights(copy):
    message = copy.edit_config(put(49, "action_in_proj_cfg", "hidden_size")).refusal()
    assert "action_in_proj.encoder.trunk.0.weight is [48, 60], the config makes it [49, 60]" in message


# The tokenizer


def tokenizer_refusal(copy) -> str:
    opened = open_checkpoint(str(copy.folder))
    with pytest.raises(ExportError) as refused:
        build_tokenizer(opened.vlm_folder, opened.config)
    return str(refused.value)


def test_a_tokenizer_with_other_ids(copy):
    message = tokenizer_refusal(copy.edit_config(put(415, "traj_token_start_idx")))
    assert "is not this checkpoint's: <i0> is 414, wanted 415" in message


def test_every_token_that_does_not_fit_is_listed(copy):
    copy.edit_config(put(4400, "traj_token_ids", "history")).edit_config(put(1, "traj_token_ids", "future_start"))
    message = tokenizer_refusal(copy)
    assert "<|traj_history|> is 4429, wanted 4400" in message
    assert "<|traj_future_start|> is 4426, wanted 1" in message


def test_a_tokenizer_larger_than_the_vocabulary(copy):
    # The weights are cut with it, so that only the tokenizer does not fit.
    def cut(tensors):
        for name in ("vlm.lm_head.weight", "vlm.model.language_model.embed_tokens.weight"):
            tensors[name] = tensors[name][:4441].clone()

    message = tokenizer_refusal(copy.edit_config(put(4441, "vocab_size")).edit_weights(cut))
    assert "it has 4442 tokens, the checkpoint's vocab_size is 4441" in message


def test_a_folder_without_a_tokenizer(copy):
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"):
        (copy.vlm / name).unlink()
    assert str(copy.vlm) in tokenizer_refusal(copy)


@pytest.mark.parametrize(
    "template",
    [
        "{% for message in messages %}{{ message['role'] }}{% endfor %}",
        "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}"
        "{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}",
        "",
    ],
)
def test_a_chat_template_that_does_not_show_the_images(copy, template):
    (copy.vlm / "chat_template.jinja").write_text(template)
    opened = open_checkpoint(str(copy.folder))
    tokenizer = build_tokenizer(opened.vlm_folder, opened.config)
    with pytest.raises(ExportError, match="chat template"):
        render_prompt(tokenizer)


@pytest.mark.parametrize("special", [True, False])
def test_special_tokens_are_added_all_or_the_six_of_trajectories(copy, special):
    names = ["history", "future", "history_start", "future_start", "history_end", "future_end"]

    def six_tokens(config):
        config["add_special_tokens"] = False
        config["traj_token_ids"] = {name: 4414 + i for i, name in enumerate(names)}

    if not special:
        copy.edit_config(six_tokens)
    opened = open_checkpoint(str(copy.folder))
    tokenizer = build_tokenizer(opened.vlm_folder, opened.config)
    assert len(tokenizer) == (4442 if special else 4420)
    assert tokenizer.convert_tokens_to_ids("<i3999>") == 4413
    assert ("<|cot_start|>" in tokenizer.get_vocab()) == special


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


def test_weights_that_are_no_floats(copy):
    copy.edit_weights(lambda tensors: tensors.update({"expert.norm.weight": torch.ones(32, dtype=torch.int8)}))
    assert "expert.norm.weight is I8" in copy.refusal()
