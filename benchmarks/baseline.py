"""What one writes without this project: transformers' `generate` on K copied prompts, then the expert in torch over K
copies of the KV cache. Same weights, same inputs; the images are preprocessed by this project's code.

Attention is torch's own (sdpa). On a GPU it computes in bf16, as the reference does; actions, and the small projections
between them and the expert, are float32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from alpamayo_export.checkpoint import Checkpoint, model_dtype
from alpamayo_export.checkpoint_files import Weights
from alpamayo_export.denoiser import ActionInProj
from alpamayo_model_repository.random_weights import randomise
from torch import Tensor, nn
from transformers import (
    DynamicCache,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    Qwen3VLForConditionalGeneration,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.initialization import no_init_weights
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel


@dataclass(frozen=True)
class Driven:
    """What the baseline answers, on the CPU.

    Attributes:
        action: (K, 64, 2) float32, normalised.
        tokens: of each of the K thoughts, the one that ends it included.
    """

    action: Tensor
    tokens: list[int]


class Baseline:
    """The research script's way, as plainly as transformers allows."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device, dtype: torch.dtype) -> None:
        """Reads the weights tensor by tensor, straight to where they stay: they are in memory once.

        Raises torch.OutOfMemoryError if they do not fit.
        """
        config, weights = checkpoint.config, checkpoint.weights
        self.checkpoint, self.device, self.dtype = checkpoint, device, dtype
        self.stop_token = config.traj_token_ids["future_start"]
        self.end_tokens = [self.stop_token, checkpoint.vlm.text_config.eos_token_id]
        self.trajectory_tokens = slice(
            config.traj_token_start_idx, config.traj_token_start_idx + config.traj_vocab_size
        )
        with device, no_init_weights():
            self.vlm = _made(Qwen3VLForConditionalGeneration, checkpoint.vlm, dtype)
            self.expert = _made(Qwen3VLTextModel, checkpoint.expert, dtype)
            del self.expert.embed_tokens
            self.action_in_proj = ActionInProj(config.action_in_proj, checkpoint.expert.hidden_size)
            self.action_out_proj = nn.Linear(checkpoint.expert.hidden_size, 2)
        for name in ("vlm", "expert", "action_in_proj", "action_out_proj"):
            if name == "vlm" and config.random_vlm_seed is not None:
                randomise(self.vlm, config.random_vlm_seed)
                self.vlm.eval().requires_grad_(False)
            else:
                _load(getattr(self, name), weights, f"{name}.", model_dtype(config))

    @torch.inference_mode()
    def __call__(
        self,
        prompt: Tensor,
        pixel_values: Tensor,
        image_grid_thw: Tensor,
        noise: Tensor,
        max_generation_length: int,
        inference_steps: int,
        endless: bool = False,
    ) -> Driven:
        """Greedy thoughts for a prompt (1, P), a trajectory for each row of noise (K, 64, 2).

        Args:
            prompt: token ids.
            pixel_values: (patches, 1536) of all images.
            image_grid_thw: (images, 3), the patch grid of each.
            noise: float32, what the expert starts from.
            max_generation_length: tokens a thought.
            inference_steps: Euler steps.
            endless: no thought ends by itself; each has exactly `max_generation_length` tokens.
        """
        samples, length = len(noise), prompt.shape[1]
        prompt = prompt.to(self.device)
        generated = self.vlm.generate(
            input_ids=prompt.repeat(samples, 1),
            attention_mask=torch.ones_like(prompt).repeat(samples, 1),
            mm_token_type_ids=(prompt == self.vlm.config.image_token_id).int().repeat(samples, 1),
            pixel_values=pixel_values.to(self.device, self.dtype).repeat(samples, 1),
            image_grid_thw=image_grid_thw.to(self.device).repeat(samples, 1),
            do_sample=False,
            max_new_tokens=max_generation_length,
            suppress_tokens=self.end_tokens if endless else None,
            logits_processor=LogitsProcessorList([_Masked(self.trajectory_tokens)]),
            stopping_criteria=StoppingCriteriaList([_OneAfter(self.stop_token, length)]),
            return_dict_in_generate=True,
        )
        tokens = self._lengths(generated.sequences[:, length:])
        last = length + tokens - 1
        velocity = self._velocity(generated.past_key_values, last, self.vlm.model.rope_deltas[:samples, 0] + last + 1)
        x = noise.to(self.device)
        for step in range(inference_steps):
            x = x + velocity(x, torch.tensor(step / inference_steps, device=self.device)) / inference_steps
        return Driven(x.cpu(), tokens.tolist())

    def _lengths(self, generated: Tensor) -> Tensor:
        """(K,): tokens of each row of (K, N) up to the one that ends it; all of them where none does."""
        ends = torch.isin(generated, torch.tensor(self.end_tokens, device=self.device))
        return torch.where(ends.any(dim=1), ends.int().argmax(dim=1) + 1, generated.shape[1])

    def _velocity(self, cache: DynamicCache, last: Tensor, offset: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """Of actions that see the cache up to token `last` (K,), and are at RoPE positions from `offset` (K,) on."""
        tokens, waypoints = cache.get_seq_length(), 64
        position_ids = (offset[:, None] + torch.arange(waypoints, device=self.device)).expand(3, -1, -1)
        mask = torch.ones(len(last), 1, waypoints, tokens + waypoints, dtype=torch.bool, device=self.device)
        mask[..., :tokens] = (torch.arange(tokens, device=self.device) <= last[:, None])[:, None, None]

        def run(x: Tensor, t: Tensor) -> Tensor:
            hidden = self.expert(
                inputs_embeds=self.action_in_proj(x, t).to(self.dtype),
                attention_mask=mask,
                position_ids=position_ids,
                past_key_values=cache,
            ).last_hidden_state
            cache.crop(-waypoints)
            return self.action_out_proj(hidden.float())

        return run


class _Masked(LogitsProcessor):
    def __init__(self, tokens: slice) -> None:
        self.tokens = tokens

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores[:, self.tokens] = -torch.inf
        return scores


class _OneAfter(StoppingCriteria):
    """Stops a sequence one token after its stop token, so that the stop token's own KV exists."""

    def __init__(self, stop_token: int, prompt_length: int) -> None:
        self.stop_token, self.prompt_length = stop_token, prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: object) -> Tensor:
        return (input_ids[:, self.prompt_length : -1] == self.stop_token).any(dim=1)


def _made(kind: type[PreTrainedModel], config: Any, dtype: torch.dtype) -> Any:
    return kind._from_config(config, dtype=dtype, attn_implementation="sdpa")


def _load(module: nn.Module, weights: Weights, prefix: str, model_dtype: torch.dtype) -> None:
    """Fills `module` in place; a buffer that is not stored keeps its value, rounded as the reference has it."""
    buffers = dict(module.named_buffers())
    for name, tensor in module.state_dict().items():
        stored = prefix + name
        if name in buffers and stored not in weights.shard_of:
            tensor.copy_(tensor.to(model_dtype))
        else:
            tensor.copy_(weights.read([stored])[stored])
    module.eval().requires_grad_(False)
