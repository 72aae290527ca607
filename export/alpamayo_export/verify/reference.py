"""transformers' own Qwen3-VL, with the checkpoint's weights: what the repository's reasoner is compared with."""

import copy

import torch
from alpamayo_model_repository.random_weights import randomise
from torch import Tensor
from tqdm import tqdm
from transformers import DynamicCache, Qwen3VLForConditionalGeneration
from transformers.initialization import no_init_weights

from alpamayo_export.checkpoint import Checkpoint
from alpamayo_export.settings import PRECISIONS
from alpamayo_export.verify.thinking import Thinking, flat


class Transformers:
    """transformers' own model with the checkpoint's weights, in the repository's precision."""

    def __init__(self, checkpoint: Checkpoint, precision: str, device: torch.device) -> None:
        """Reads the weights tensor by tensor to where they stay: they are in memory once."""
        with device, no_init_weights():
            self._model = Qwen3VLForConditionalGeneration._from_config(
                copy.deepcopy(checkpoint.vlm),  # it writes its own type into it
                dtype=PRECISIONS[precision],
                attn_implementation="sdpa",
            )
        self._device = device
        if checkpoint.config.random_vlm_seed is not None:
            randomise(self._model, checkpoint.config.random_vlm_seed)
        else:
            for name, tensor in tqdm(self._model.state_dict().items(), desc="transformers' weights", delay=2):
                stored = f"vlm.{name}"
                tensor.copy_(checkpoint.weights.read([stored])[stored])
        self._model.eval().requires_grad_(False)
        self._trajectory_tokens = slice(
            checkpoint.config.traj_token_start_idx,
            checkpoint.config.traj_token_start_idx + checkpoint.config.traj_vocab_size,
        )

    @torch.inference_mode()
    def think(self, prompt: Tensor, pixel_values: Tensor, grid: Tensor, thoughts: list[list[int]]) -> Thinking:
        """Prompt (1, P) and thought in one ordinary forward pass, thought by thought."""
        kv, logits, ends = [], [], []
        for thought in thoughts:
            ids = torch.cat([prompt, torch.tensor([thought])], dim=1).to(self._device)
            cache = DynamicCache(config=self._model.config.text_config)
            out = self._model(
                input_ids=ids,
                mm_token_type_ids=(ids == self._model.config.image_token_id).int(),
                pixel_values=pixel_values.to(self._device, self._model.dtype),
                image_grid_thw=grid.to(self._device),
                past_key_values=cache,
                logits_to_keep=len(thought) + 1,
            )
            seen = out.logits[0, :-1].float().cpu()
            seen[:, self._trajectory_tokens] = -torch.inf
            logits.append(seen)
            layers = [torch.stack([layer.keys[0], layer.values[0]]) for layer in cache.layers]
            kv.append(flat(torch.stack(layers)))
            ends.append(ids.shape[1] + int(self._model.model.rope_deltas[0, 0]))
        length = prompt.shape[1]
        return Thinking(kv[0][:, :length], [it[:, length:] for it in kv], logits, ends)
