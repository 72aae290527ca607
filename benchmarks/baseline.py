"""What one writes without this project: transformers' `generate` on K copied prompts, then the expert in torch over K
copies of the KV cache. Same weights, same inputs; the images are preprocessed by this project's code.
"""

from collections.abc import Callable
from typing import Any

import torch
from alpamayo_export.checkpoint import Weights
from alpamayo_export.denoiser import ActionInProj
from alpamayo_export.export import Checkpoint
from torch import Tensor, nn
from transformers import (
    DynamicCache,
    LogitsProcessor,
    LogitsProcessorList,
    Qwen3VLForConditionalGeneration,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel


class Baseline:
    """The research script's way, as plainly as transformers allows."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        config, weights = checkpoint.config, checkpoint.weights
        self.stop_token = config.traj_token_ids["future_start"]
        self.trajectory_tokens = slice(
            config.traj_token_start_idx, config.traj_token_start_idx + config.traj_vocab_size
        )
        self.vlm = _loaded(Qwen3VLForConditionalGeneration(checkpoint.vlm), weights, "vlm.")
        expert = Qwen3VLTextModel(checkpoint.expert)
        del expert.embed_tokens
        self.expert = _loaded(expert, weights, "expert.")
        self.action_in_proj = _loaded(
            ActionInProj(config.action_in_proj, checkpoint.expert.hidden_size), weights, "action_in_proj."
        )
        self.action_out_proj = _loaded(nn.Linear(checkpoint.expert.hidden_size, 2), weights, "action_out_proj.")

    @torch.inference_mode()
    def __call__(
        self,
        prompt: Tensor,
        pixel_values: Tensor,
        image_grid_thw: Tensor,
        noise: Tensor,
        max_generation_length: int,
        inference_steps: int,
    ) -> Tensor:
        """Greedy thoughts for a prompt (1, P), a trajectory for each row of noise (K, 64, 2).

        Returns:
            Normalised actions (K, 64, 2).
        """
        samples, length = len(noise), prompt.shape[1]
        generated = self.vlm.generate(
            input_ids=prompt.repeat(samples, 1),
            attention_mask=torch.ones_like(prompt).repeat(samples, 1),
            mm_token_type_ids=(prompt == self.vlm.config.image_token_id).int().repeat(samples, 1),
            pixel_values=pixel_values.repeat(samples, 1),
            image_grid_thw=image_grid_thw.repeat(samples, 1),
            do_sample=False,
            max_new_tokens=max_generation_length,
            logits_processor=LogitsProcessorList([_Masked(self.trajectory_tokens)]),
            stopping_criteria=StoppingCriteriaList([_OneAfter(self.stop_token, length)]),
            return_dict_in_generate=True,
        )
        stop = (generated.sequences[:, length:] == self.stop_token).int().argmax(dim=1) + length
        offset = self.vlm.model.rope_deltas[:samples, 0] + stop + 1
        velocity = self._velocity(generated.past_key_values, stop, offset)
        x = noise
        for step in range(inference_steps):
            x = x + velocity(x, torch.tensor(step / inference_steps)) / inference_steps
        return x

    def _velocity(self, cache: DynamicCache, stop: Tensor, offset: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        tokens, waypoints = cache.get_seq_length(), 64
        position_ids = (offset[:, None] + torch.arange(waypoints)).expand(3, -1, -1)
        mask = torch.ones(len(stop), 1, waypoints, tokens + waypoints, dtype=torch.bool)
        mask[..., :tokens] = (torch.arange(tokens) <= stop[:, None])[:, None, None]

        def run(x: Tensor, t: Tensor) -> Tensor:
            hidden = self.expert(
                inputs_embeds=self.action_in_proj(x, t),
                attention_mask=mask,
                position_ids=position_ids,
                past_key_values=cache,
            ).last_hidden_state
            cache.crop(-waypoints)
            return self.action_out_proj(hidden)

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


def _loaded(module: nn.Module, weights: Weights, prefix: str) -> Any:
    names = [name for name in weights.shard_of if name.startswith(prefix)]
    module.load_state_dict({name.removeprefix(prefix): x for name, x in weights.read(names).items()}, strict=True)
    return module.eval().requires_grad_(False)
