"""The vision tower, transformers' own, fed so that nothing in it waits for the GPU or is done once an image."""

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLVisionAttention,
    Qwen3VLVisionModel,
    Qwen3VLVisionPatchEmbed,
    apply_rotary_pos_emb_vision,
)
from transformers.vision_utils import (
    get_vision_attention_seqlens,
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
)


class VisionTower:
    """Patches to the tokens that stand for them in the prompt."""

    def __init__(self, model: Qwen3VLVisionModel) -> None:
        model.patch_embed = _PatchEmbed(model.patch_embed)
        for module in model.blocks:
            block = module.inner if isinstance(module, Streamed) else module
            block.attn = _ImageAttention(block.attn)
        self._model = model
        self._tables = lru_cache(maxsize=4)(self._make_tables)  # cameras are the same from request to request

    def __call__(self, pixel_values: Tensor, image_grid_thw: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Of patches (patches, 1536), and the grid of every image (n, 3), on the CPU.

        Returns:
            (tokens, hidden), and what is to be added to these tokens' states after the language model's first layers.
        """
        tables = self._tables(tuple(image_grid_thw.flatten().tolist()))
        seen = self._model(pixel_values.to(self._model.dtype), grid_thw=image_grid_thw, **tables)
        return seen.pooler_output, seen.deepstack_features

    def _make_tables(self, grid: tuple[int, ...]) -> dict[str, Any]:
        """What transformers would work out anew for every request, waiting for the GPU each time."""
        model, grid_thw = self._model, torch.tensor(grid).view(-1, 3)
        merge = model.spatial_merge_size
        indices, weights = get_vision_interpolation_indices_and_weights(
            grid_thw,
            num_grid_per_side=model.num_grid_per_side,
            mode=model.interpolation_mode,
            align_corners=model.interpolation_align_corners,
            spatial_merge_size=merge,
        )
        position_ids = get_vision_position_ids(grid_thw, merge)
        device = model.pos_embed.weight.device
        return {
            "interp_indices": indices.to(device),
            "interp_weights": weights.to(device),
            "position_ids": position_ids.to(device),
            "cu_seqlens": get_vision_attention_seqlens(grid_thw, model.config)[0],  # read on the host
        }


class Streamed(nn.Module):
    """A module whose weights stay in host memory, and are on the device for as long as it runs."""

    def __init__(self, inner: nn.Module, device: torch.device) -> None:
        super().__init__()
        self._hidden, self._device = (inner,), device  # in a tuple: what moves this module leaves that one alone
        if device.type == "cuda":
            for weight in inner.parameters():
                weight.data = weight.data.cpu().pin_memory()

    @property
    def inner(self) -> nn.Module:
        return self._hidden[0]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        weights = {name: it.to(self._device, non_blocking=True) for name, it in self.inner.named_parameters()}
        return functional_call(self.inner, weights, args, kwargs)


def stream(model: Qwen3VLVisionModel, device: torch.device) -> None:
    """Keeps in host memory what of the tower is large: its layers, and what makes tokens of patches."""
    for modules in (model.blocks, model.deepstack_merger_list):
        for i, module in enumerate(modules):
            modules[i] = Streamed(module, device)
    model.merger = Streamed(model.merger, device)


class _PatchEmbed(nn.Module):
    """transformers' convolution whose kernel is a whole patch: a matrix product, as which it is quick in bf16 too.

    As a convolution it is not: https://github.com/huggingface/transformers/issues/45750.
    """

    def __init__(self, embed: Qwen3VLVisionPatchEmbed) -> None:
        super().__init__()
        self.proj = embed.proj

    def forward(self, patches: Tensor) -> Tensor:
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class _ImageAttention(nn.Module):
    """transformers' attention of the patches of an image among themselves; images of one size are one batch."""

    def __init__(self, attention: Qwen3VLVisionAttention) -> None:
        super().__init__()
        self.qkv, self.proj, self._heads = attention.qkv, attention.proj, attention.num_heads

    def forward(
        self, hidden_states: Tensor, cu_seqlens: Tensor, position_embeddings: tuple[Tensor, Tensor], **_: Any
    ) -> Tensor:
        q, k, v = self.qkv(hidden_states).unflatten(-1, (3, self._heads, -1)).unbind(1)
        q, k = apply_rotary_pos_emb_vision(q, k, *position_embeddings)
        lengths = cu_seqlens.diff().tolist()
        if len(set(lengths)) == 1:
            attended = _attend(*(x.unflatten(0, (len(lengths), -1)) for x in (q, k, v))).flatten(0, 1)
        else:
            images = zip(*(x.split(lengths) for x in (q, k, v)), strict=True)
            attended = torch.cat([_attend(*(x[None] for x in image))[0] for image in images])
        return self.proj(attended.flatten(1))


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """All (images, patches, heads, head_dim)."""
    return F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)
