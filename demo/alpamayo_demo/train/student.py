"""The released architecture for training: whole batches at once, with gradients. Same modules, same names as served."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from alpamayo_export.checkpoint import Checkpoint
from alpamayo_export.denoiser import Attention, DecoderLayer, DenoisingStep, rotate
from denoiser.graph_inputs import rope
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
)

from alpamayo_demo.road.cameras import HEIGHT_PX, WIDTH_PX

PATCH, MERGE = 16, 2
GRID = (1, HEIGHT_PX // PATCH, WIDTH_PX // PATCH)  # of an image's patches
IMAGE_TOKENS = GRID[1] * GRID[2] // MERGE**2


class Student(nn.Module):
    """Parameters have the released names: `vlm.*`, `expert.*`, `action_in_proj.*`, `action_out_proj.*`."""

    def __init__(self, vlm_config: Any, action_in_proj: Any, expert_config: Any) -> None:
        super().__init__()
        self.vlm = Qwen3VLForConditionalGeneration(vlm_config)
        step = DenoisingStep(action_in_proj, expert_config)
        self.action_in_proj, self.expert, self.action_out_proj = step.action_in_proj, step.expert, step.action_out_proj
        self.hidden_size = int(vlm_config.text_config.hidden_size)
        self.head_dim, self.rope_theta = expert_config.head_dim, expert_config.rope_parameters["rope_theta"]
        _initialize(self)

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> "Student":
        """With random weights."""
        return cls(checkpoint.vlm, checkpoint.config.action_in_proj, checkpoint.expert)

    def read(self, ids: Tensor, patches: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (B, L) with the pixels of their images (B x images, patches, 768), one forward pass.

        Returns:
            Hidden states (B, L, hidden), the KV cache (layers, 2, B, kv_heads, L, head_dim), and the features of the
            image tokens (B x images x tokens, hidden).
        """
        model = self.vlm.model
        features, deepstack = see(model.visual, patches)
        embeds = model.language_model.embed_tokens(ids)
        is_image = ids == self.vlm.config.image_token_id
        embeds = embeds.masked_scatter(is_image[..., None], features.to(embeds.dtype))
        output = model.language_model(
            inputs_embeds=embeds,
            position_ids=position_ids,
            visual_pos_masks=is_image,
            deepstack_visual_embeds=deepstack,
            use_cache=True,
        )
        layers = output.past_key_values.layers
        kv_cache = torch.stack([torch.stack([layer.keys, layer.values]) for layer in layers])
        return output.last_hidden_state, kv_cache, features

    def velocity(self, x: Tensor, t: Tensor, kv_cache: Tensor, sees: Tensor, action_position: Tensor) -> Tensor:
        """The flow's velocity at x (N, 64, 2), t (N,), to (N, 64, 2). Each has a KV cache of its own in
        `kv_cache` (layers, 2, N, kv_heads, L, head_dim), and sees the tokens `sees` (N, L) of it.
        """
        n, waypoints = x.shape[:2]
        hidden = self.action_in_proj(x, t[:, None])
        angles = rope(action_position, self.head_dim, self.rope_theta)
        cos, sin = (part.unflatten(0, (n, 1, waypoints)) for part in angles)
        mask = F.pad(sees, (0, waypoints), value=True)[:, None, None]
        for module, kv in zip(self.expert.layers, kv_cache, strict=True):
            layer = cast(DecoderLayer, module)
            hidden = hidden + _attend(layer.self_attn, layer.input_layernorm(hidden), kv, (cos, sin), mask)
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        return self.action_out_proj(self.expert.norm(hidden)).float()


def see(visual: Any, patches: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Qwen3-VL's vision tower over images of one size at once: transformers' own runs attention image by image.

    Args:
        visual: the tower.
        patches: (images, patches, 3 x 16 x 16), in 2 x 2 merge order.

    Returns:
        Features of image tokens (images x tokens, hidden), and those of the deepstack taps.
    """
    images, count, _ = patches.shape
    weight = visual.patch_embed.proj.weight.sum(dim=2).flatten(1)  # both frames of the temporal patch are the same
    grid = torch.tensor([GRID], device=patches.device)
    index, share = _position_grid(visual, grid)
    hidden = F.linear(patches, weight, visual.patch_embed.proj.bias)
    hidden = hidden + (visual.pos_embed(index) * share[:, :, None]).sum(1)
    cos, sin = _vision_rope(visual, grid, hidden)
    deepstack = []
    for i, block in enumerate(visual.blocks):
        attn = block.attn
        q, k, v = attn.qkv(block.norm1(hidden)).view(images, count, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(rotate(q, (cos, sin)), rotate(k, (cos, sin)), v)
        hidden = hidden + attn.proj(attended.transpose(1, 2).flatten(2))
        hidden = hidden + block.mlp(block.norm2(hidden))
        if i in visual.deepstack_visual_indexes:
            merger = visual.deepstack_merger_list[visual.deepstack_visual_indexes.index(i)]
            deepstack.append(merger(hidden.flatten(0, 1)))
    return visual.merger(hidden.flatten(0, 1)), deepstack


def _position_grid(visual: Any, grid: Tensor) -> tuple[Tensor, Tensor]:
    return get_vision_interpolation_indices_and_weights(
        grid,
        num_grid_per_side=visual.num_grid_per_side,
        mode=visual.interpolation_mode,
        align_corners=visual.interpolation_align_corners,
        spatial_merge_size=visual.config.spatial_merge_size,
        kwargs={},
    )


def _vision_rope(visual: Any, grid: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    positions = get_vision_position_ids(grid, visual.spatial_merge_size, kwargs={})
    return visual.rotary_pos_emb(hidden, positions)


def _attend(attn: Attention, x: Tensor, kv: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
    """`Attention.forward` for N sequences.

    x (N, n, hidden), kv (2, N, kv_heads, L, head_dim), mask (N, 1, 1, L + n); to (N, n, hidden).
    """
    q = rotate(attn.q_norm(attn.q_proj(x).unflatten(-1, (attn.heads, attn.head_dim)).transpose(1, 2)), rope)
    k = rotate(attn.k_norm(attn.k_proj(x).unflatten(-1, (attn.kv_heads, attn.head_dim)).transpose(1, 2)), rope)
    v = attn.v_proj(x).unflatten(-1, (attn.kv_heads, attn.head_dim)).transpose(1, 2)
    group = attn.heads // attn.kv_heads
    # The heads that share a KV head are queries of one longer sequence.
    attended = F.scaled_dot_product_attention(
        q.unflatten(1, (attn.kv_heads, group)).flatten(2, 3),
        torch.cat([kv[0], k], dim=2),
        torch.cat([kv[1], v], dim=2),
        attn_mask=mask,
    )
    return attn.o_proj(attended.unflatten(2, (group, -1)).flatten(1, 2).transpose(1, 2).flatten(2))


def _initialize(student: Student) -> None:
    """Linear layers so that they keep about the size of what they are given; embeddings as large as what joins them."""
    for module in student.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5 / 1.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.4)
        elif type(module).__name__.endswith("RMSNorm") or isinstance(module, nn.LayerNorm):
            nn.init.ones_(cast(Tensor, module.weight))
    nn.init.zeros_(student.action_out_proj.weight)


@torch.no_grad()
def order_history_tokens(student: Student, first: int, bins: int) -> None:
    """Neighbouring displacements start with neighbouring embeddings, so that few of them teach all."""
    embedding = student.vlm.model.language_model.embed_tokens.weight
    angle = torch.arange(bins)[:, None] / bins * torch.pi * torch.arange(1, 33)
    waves = torch.cat([angle.sin(), angle.cos()], dim=1)
    embedding[first : first + bins] = waves @ torch.randn(waves.shape[1], embedding.shape[1]) * 0.4 / 32**0.5
