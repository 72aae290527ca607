"""The vision-language model's side files: its Qwen3-VL config, its tokenizer with all added tokens, its prompt."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from alpamayo_model_repository.contract import HISTORY_POSES
from jinja2 import TemplateError
from transformers import AutoConfig, AutoTokenizer, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from alpamayo_export.config import AlpamayoConfig
from alpamayo_export.errors import ExportError

SYSTEM = "You are a driving assistant that generates safe and accurate actions."
TASK = "output the chain-of-thought reasoning of the driving process, then output the future trajectory."
IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
HISTORY = "<|traj_history_start|>" + "<|traj_history|>" * (3 * HISTORY_POSES) + "<|traj_history_end|>"

# The order in which the reference adds them: it decides their ids. One of them is Qwen's already.
_SPECIAL_TOKENS = """
    prompt_start prompt_end image_start image_pre_tkn image_end traj_history_start traj_history_pre_tkn traj_history_end
    cot_start cot_end meta_action_start meta_action_end traj_future_start traj_future_pre_tkn traj_future_end
    traj_history traj_future image_pad vectorized_wm vectorized_wm_start vectorized_wm_end vectorized_wm_pre_tkn
    route_start route_pad route_end question_start question_end answer_start answer_end
""".split()


@dataclass(frozen=True)
class Prompt:
    """The prompt's text, cut where the images go: head, then `image` once for every image, then tail.

    `image` holds one `<|image_pad|>`, to be repeated once for every token of the image.
    """

    head: str
    image: str
    tail: str


def read_vlm_config(folder: Path, vocab_size: int) -> Qwen3VLConfig:
    try:
        config = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise ExportError(f"{folder} holds no config that transformers can read: {error}") from None
    if not isinstance(config, Qwen3VLConfig):
        raise ExportError(f"{folder} holds a {config.model_type} model; wanted qwen3_vl")
    rope_type = config.text_config.rope_parameters.get("rope_type", "default")
    if rope_type != "default":
        raise ExportError(f"{folder} has rope_type {rope_type!r}; known is 'default'")
    if not isinstance(config.text_config.eos_token_id, int):
        raise ExportError(
            f"{folder}: text_config.eos_token_id is {config.text_config.eos_token_id!r}; wanted one token"
        )
    config.text_config.vocab_size = vocab_size
    return config


def expert_config(config: Qwen3VLConfig, overrides: dict[str, Any]) -> Any:
    """The expert is a language model of the same depth and KV heads, narrower: the text config with `overrides`."""
    known = config.text_config.to_dict()
    unknown = sorted(overrides.keys() - known.keys())
    if unknown:
        raise ExportError(f"expert_cfg has {unknown}; known are a text config's keys")
    try:
        expert = type(config.text_config)(**{**known, **overrides})
    except Exception as error:  # transformers' own validation errors have no common base but this
        raise ExportError(f"expert_cfg makes no text config: {error}") from None
    if expert.hidden_act != "silu":
        raise ExportError(f"expert_cfg makes hidden_act {expert.hidden_act!r}; known is 'silu'")
    for name in ("num_hidden_layers", "num_key_value_heads", "head_dim"):
        if getattr(expert, name) != getattr(config.text_config, name):
            raise ExportError(
                f"expert_cfg.{name} is {getattr(expert, name)}, the language model has "
                f"{getattr(config.text_config, name)}: the expert could not attend to its KV cache"
            )
    return expert


def vlm_shapes(config: Qwen3VLConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def build_tokenizer(folder: Path, config: AlpamayoConfig) -> Any:
    """The tokenizer of `folder` with the checkpoint's trajectory and special tokens.

    Raises:
        ExportError: the ids that come out are not the checkpoint's.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise ExportError(f"{folder} holds no tokenizer that transformers can read: {error}") from None
    tokenizer.add_tokens([f"<i{i}>" for i in range(config.traj_vocab_size)])
    names = _SPECIAL_TOKENS if config.add_special_tokens else [f"traj_{name}" for name in config.traj_token_ids]
    tokenizer.add_tokens([f"<|{name}|>" for name in names], special_tokens=True)

    wanted = {"<i0>": config.traj_token_start_idx}
    wanted |= {f"<|traj_{name}|>": token for name, token in config.traj_token_ids.items()}
    found = {token: tokenizer.convert_tokens_to_ids(token) for token in wanted}
    wrong = [f"{token} is {found[token]}, wanted {wanted[token]}" for token in wanted if found[token] != wanted[token]]
    if len(tokenizer) > config.vocab_size:
        wrong.append(f"it has {len(tokenizer)} tokens, the checkpoint's vocab_size is {config.vocab_size}")
    if wrong:
        raise ExportError(f"the tokenizer in {folder} is not this checkpoint's: {'; '.join(wrong)}")
    return tokenizer


def render_prompt(tokenizer: Any) -> Prompt:
    """Applies the tokenizer's chat template, and cuts the text at the images."""
    try:
        one, two = (prompt_text(tokenizer, images) for images in (1, 2))
    except (ValueError, TemplateError) as error:
        raise ExportError(f"the chat template cannot render the prompt: {error}") from None
    head, found, tail = one.partition(IMAGE)
    if not found or two != head + 2 * IMAGE + tail:
        raise ExportError(f"the chat template does not render an image as {IMAGE}: {one!r}")
    return Prompt(head, IMAGE, tail)


def prompt_text(tokenizer: Any, images: int) -> str:
    """The whole prompt, by the tokenizer's chat template, with one `<|image_pad|>` for every image."""
    messages = [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM}]},
        {"role": "user", "content": [{"type": "image"}] * images + [{"type": "text", "text": HISTORY + TASK}]},
        {"role": "assistant", "content": [{"type": "text", "text": "<|cot_start|>"}]},
    ]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, continue_final_message=True))
