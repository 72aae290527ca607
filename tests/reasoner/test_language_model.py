"""The packed forward pass against transformers' own, over the same weights."""

from dataclasses import replace

import pytest
import torch
from contract import KV_BUCKET
from reasoner.attention import causal, masked, split
from reasoner.language_model import LanguageModel
from reasoner.reasoner import _load_model
from reasoner.settings import ReasonerSettings
from reasoner.vision import Streamed, VisionTower
from transformers import DynamicCache

N, HEADS, KV_HEADS, HEAD_DIM = 3, 4, 2, 16


@pytest.fixture
def attended():
    """Queries, keys, values of a long cache, a mask, and what they come to by the definition."""
    generator = torch.Generator().manual_seed(0)
    tokens = 3 * KV_BUCKET
    q = torch.randn(N, HEADS, HEAD_DIM, generator=generator)
    keys, values = torch.randn(2, KV_HEADS, tokens, HEAD_DIM, generator=generator)
    mask = torch.rand(N, tokens, generator=generator) < 0.3
    mask[:, 0] = True
    mask[1, KV_BUCKET:] = False  # whole buckets that a token does not look at
    every = [x.repeat_interleave(HEADS // KV_HEADS, dim=0) for x in (keys, values)]
    scores = torch.einsum("nhd,htd->nht", q, every[0]) / HEAD_DIM**0.5
    weights = scores.masked_fill(~mask[:, None], -torch.inf).softmax(dim=-1)
    return q, keys, values, mask, torch.einsum("nht,htd->nhd", weights, every[1]).flatten(1)


def additive(mask):
    return torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)


def test_attention_by_a_mask_follows_the_definition(attended):
    q, keys, values, mask, wanted = attended
    torch.testing.assert_close(masked(mask)(q, keys, values), wanted, rtol=0, atol=1e-5)


def test_split_attention_follows_the_definition(attended):
    q, keys, values, mask, wanted = attended
    torch.testing.assert_close(split(additive(mask))(q, keys, values), wanted, rtol=0, atol=1e-5)


def test_split_attention_in_bf16_sums_in_float32(attended):
    q, keys, values, mask, _ = attended
    rounded = [x.bfloat16() for x in (q, keys, values)]
    wanted = split(additive(mask))(*(x.float() for x in rounded))
    found = split(additive(mask))(*rounded)
    assert found.dtype == torch.bfloat16
    assert (found.float() - wanted).norm() / wanted.norm() < 5e-3


def test_causal_attention_follows_the_definition(attended):
    _, keys, values, *_ = attended
    q = torch.randn(20, HEADS, HEAD_DIM, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(20, keys.shape[1], dtype=torch.bool).tril()
    torch.testing.assert_close(causal(q, keys, values), masked(mask)(q, keys, values), rtol=0, atol=1e-5)


@torch.inference_mode()
def test_the_forward_pass_is_transformers(reasoner):
    """A prompt of text, then single tokens, by both: hidden states and KV."""
    text = reasoner.model.model.language_model
    embedded = reasoner.model.get_input_embeddings()(torch.arange(5, 45))
    cache = DynamicCache(config=text.config)
    kv = torch.zeros(4, 2, 2, KV_BUCKET, 16)
    for rows in (torch.arange(37), torch.tensor([37]), torch.tensor([38])):
        positions = rows.expand(3, -1)
        theirs = text(
            inputs_embeds=embedded[rows][None], position_ids=positions[:, None], past_key_values=cache
        ).last_hidden_state[0]
        attend = causal if len(rows) > 1 else split(additive(torch.arange(KV_BUCKET) <= rows[:, None]))
        ours = reasoner._language_model(embedded[rows], reasoner._language_model.rope(positions), kv, rows, attend)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)
    for i, layer in enumerate(cache.layers):
        torch.testing.assert_close(kv[i, 0, :, :39], layer.keys[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(kv[i, 1, :, :39], layer.values[0], rtol=0, atol=1e-5)


def test_weights_are_shared_with_transformers(reasoner):
    """Nothing is held twice."""
    attn = reasoner.model.model.language_model.layers[0].self_attn
    (layer, *_) = reasoner._language_model._layers
    assert attn.q_proj.weight.data_ptr() == layer._qkv.data_ptr()
    assert attn.v_proj.weight.untyped_storage().data_ptr() == layer._qkv.untyped_storage().data_ptr()


def test_an_embedding_table_in_host_memory_never_leaves_it(reasoner_folder):
    """The device is the pretended one of tensors without numbers: what was moved there would be gone."""
    settings = ReasonerSettings.load(reasoner_folder)
    there = _load_model(reasoner_folder, replace(settings, offload=("embedding",)), torch.device("meta"))
    devices = {name: weight.device.type for name, weight in there.named_parameters()}
    assert devices.pop("model.language_model.embed_tokens.weight") == "cpu"
    assert set(devices.values()) == {"meta"}
    assert there.get_input_embeddings()(torch.tensor([5])).shape == (1, 64)
    assert _load_model(reasoner_folder, settings, torch.device("meta")).get_input_embeddings().weight.is_meta


@torch.inference_mode()
def test_in_bf16_it_is_as_near_float32_as_transformers_own(reasoner_folder, reasoner):
    """A prompt of text by both; errors are relative to this module's float32."""
    tokens, positions = torch.arange(5, 105), torch.arange(100).expand(3, -1)
    settings = ReasonerSettings.load(reasoner_folder)
    narrow = _load_model(reasoner_folder, replace(settings, precision="bf16"), torch.device("cpu"))
    text = narrow.model.language_model
    theirs = text(input_ids=tokens[None], position_ids=positions[:, None]).last_hidden_state[0]

    def ours(model, embed, dtype):
        kv = torch.zeros(4, 2, 2, KV_BUCKET, 16, dtype=dtype)
        return model(embed(tokens), model.rope(positions), kv, torch.arange(100), causal).float()

    wanted = ours(reasoner._language_model, reasoner.model.get_input_embeddings(), torch.float32)
    found = ours(LanguageModel(text), text.embed_tokens, torch.bfloat16)
    error, their_error = ((x.float() - wanted).norm() / wanted.norm() for x in (found, theirs))
    assert 1e-4 < their_error < 3e-2
    assert error < 1.2 * their_error


@torch.inference_mode()
def test_a_vision_tower_in_host_memory_sees_the_same(reasoner_folder, reasoner, scene):
    settings = ReasonerSettings.load(reasoner_folder)
    offloaded = replace(settings, offload=("vision",))
    there = _load_model(reasoner_folder, offloaded, torch.device("meta")).model.visual
    inner = [it.inner for it in (*there.blocks, there.merger, *there.deepstack_merger_list)]
    assert {weight.device.type for module in inner for weight in module.parameters()} == {"cpu"}
    assert {weight.device.type for weight in there.parameters()} == {"meta"}

    looked = reasoner.look(scene.request())
    here = VisionTower(_load_model(reasoner_folder, offloaded, torch.device("cpu")).model.visual)
    (found, *found_deepstack), (wanted, *wanted_deepstack) = (
        (seen, *deepstack)
        for seen, deepstack in (it(looked.pixel_values, looked.image_grid_thw) for it in (here, reasoner.vision))
    )
    assert torch.equal(found, wanted)
    assert len(found_deepstack) == len(wanted_deepstack) > 0
    assert all(map(torch.equal, found_deepstack, wanted_deepstack))


def test_streamed_weights_are_where_their_inputs_are():
    """On a pretended device: what came out would be on the host if the weights had stayed there."""
    streamed = Streamed(torch.nn.Linear(3, 5), torch.device("meta"))
    assert streamed(torch.ones(2, 3, device="meta")).is_meta
    assert not any(weight.is_meta for weight in streamed.inner.parameters())
    assert list(streamed.parameters()) == []
