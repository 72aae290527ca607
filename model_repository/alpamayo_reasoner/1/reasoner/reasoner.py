"""Qwen3-VL, thinking: one prefill, then K thoughts decoded together as one packed sequence."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from contract import PROMPT_OWNER
from torch import Tensor
from transformers import Qwen3VLForConditionalGeneration

from reasoner.images import preprocess, read_image
from reasoner.packed_sequence import PackedSequence
from reasoner.prompt import PromptTokenizer
from reasoner.request import ReasonerRequest
from reasoner.sampling import next_tokens, thought_uniforms
from reasoner.settings import ReasonerSettings

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Thoughts:
    """K thoughts as the denoiser needs them, T tokens in one packed sequence.

    Attributes:
        kv_cache: (layers, 2, kv_heads, T, head_dim).
        kv_owner: (T,) int32.
        action_position: (K,) int32, the RoPE position of the first action token that follows each thought.
        tokens: what was generated or given, the stop token included.
        complete: (K,) whether the stop token came.
    """

    kv_cache: Tensor
    kv_owner: Tensor
    action_position: Tensor
    tokens: list[list[int]]
    complete: list[bool]


@dataclass
class Prefilled:
    """The prompt in its packed sequence, with room for the thoughts.

    Attributes:
        logits: (vocab,) of the first token after it, in float32; trajectory tokens are -inf.
        length: P, tokens of the prompt.
        rope_delta: a later token's RoPE position minus its index in prompt and thought.
    """

    sequence: PackedSequence
    logits: Tensor
    length: int
    rope_delta: int


def _never_stop() -> None:
    """The default: nobody cancels."""


class Reasoner:
    """The network, its tokenizer and the repository's limits, on one device."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.settings = ReasonerSettings.load(folder)
        self.device = device
        self.dtype = DTYPES[self.settings.precision]
        self.tokenizer = PromptTokenizer(folder / "tokenizer.json", self.settings)
        self.model = _load_model(folder, self.dtype, device)
        self.text_config = self.model.config.text_config

    @torch.inference_mode()
    def think(
        self, request: ReasonerRequest, seed: int, raise_if_stopped: Callable[[], None] = _never_stop
    ) -> Thoughts:
        """The request's thoughts: generated from the stream of `seed`, or the given ones.

        Raises:
            InvalidRequest: a given thought is too long or no plain text, or an image is broken.
            Exception: whatever `raise_if_stopped`, called before every image and forward pass, raises.
        """
        given = [self.tokenizer.thought(text, f"reasoning[{i}]") for i, text in enumerate(request.reasoning or [])]

        def pixels() -> Iterator[Tensor]:
            for image in request.images:
                raise_if_stopped()
                yield read_image(image)  # on the CPU: only there is a kernel that resizes in uint8

        pixel_values, image_grid_thw = preprocess(pixels(), self.settings.min_pixels, self.settings.max_pixels)
        prompt = self.tokenizer.prompt(image_grid_thw, torch.from_numpy(request.ego_history_xyz))
        thoughts, length = request.num_traj_samples, request.max_generation_length
        room = sum(map(len, given)) if given else thoughts * length
        raise_if_stopped()
        prefilled = self.prefill(prompt, pixel_values, image_grid_thw, room)
        if given:
            raise_if_stopped()
            return self.recite(prefilled, given)
        p = request.parameters
        uniforms = thought_uniforms(seed, thoughts, length).to(self.device)

        def sample(logits: Tensor, step: int) -> Tensor:
            return next_tokens(logits, uniforms[:, step], p.temperature, p.top_p, p.top_k)

        return self.generate(prefilled, thoughts, length, sample, raise_if_stopped)

    def prefill(self, prompt: Tensor, pixel_values: Tensor, image_grid_thw: Tensor, room: int) -> Prefilled:
        """Runs the prompt (1, P) with its images once, whatever the number of thoughts; `room` is theirs, in tokens."""
        model, text = self.model.model, self.text_config
        length = prompt.shape[1]
        sequence = PackedSequence(
            text.num_hidden_layers, text.num_key_value_heads, length + room, text.head_dim, self.dtype, self.device
        )
        image_tokens = (prompt == self.model.config.image_token_id).int()
        position_ids, rope_delta = model.get_rope_index(
            prompt, mm_token_type_ids=image_tokens, image_grid_thw=image_grid_thw
        )
        sequence.append(torch.full((length,), PROMPT_OWNER, dtype=torch.int32, device=self.device))
        hidden = model(
            input_ids=prompt.to(self.device),
            pixel_values=pixel_values.to(self.device),
            image_grid_thw=image_grid_thw.to(self.device),
            position_ids=position_ids.to(self.device),
            past_key_values=sequence.cache,
        ).last_hidden_state
        return Prefilled(sequence, self._logits(hidden[0, -1]), length, int(rope_delta))

    def generate(
        self,
        prefilled: Prefilled,
        thoughts: int,
        max_length: int,
        sample: Callable[[Tensor, int], Tensor],
        raise_if_stopped: Callable[[], None] = _never_stop,
    ) -> Thoughts:
        """Decodes `thoughts` thoughts side by side, until each has met its stop token, or `max_length` tokens.

        A thought's stop token gets its KV entry, also where it is the last one allowed: there the reference has none.
        A thought ended by the language model's own end token, or by the limit, is incomplete: its last token has none.

        Args:
            prefilled: the prompt.
            thoughts: K.
            max_length: tokens a thought.
            sample: (logits (K, vocab), step) to tokens (K,); those of thoughts that have ended are ignored.
            raise_if_stopped: called before every forward pass.
        """
        tokens: list[list[int]] = [[] for _ in range(thoughts)]
        complete, running = [False] * thoughts, [True] * thoughts
        logits = prefilled.logits.repeat(thoughts, 1)
        for step in range(max_length):
            drawn = sample(logits, step)
            fed = []  # thoughts whose token gets a KV entry
            for i, token in enumerate(drawn.tolist()):
                if running[i]:
                    tokens[i].append(token)
                    complete[i] = token == self.settings.stop_token
                    running[i] = not complete[i] and token != self.text_config.eos_token_id
                    if complete[i] or (running[i] and step < max_length - 1):
                        fed.append(i)
            if fed:
                raise_if_stopped()
                position = prefilled.length + prefilled.rope_delta + step
                logits[fed] = self._extend(prefilled.sequence, drawn[fed], fed, [position] * len(fed))
            if not any(running):
                break
        return self._thoughts(prefilled, tokens, complete)

    def recite(self, prefilled: Prefilled, thoughts: Sequence[Sequence[int]]) -> Thoughts:
        """Given thoughts, all their tokens in one forward pass; each ends with the stop token."""
        owners = [i for i, thought in enumerate(thoughts) for _ in thought]
        positions = [
            prefilled.length + prefilled.rope_delta + step for thought in thoughts for step in range(len(thought))
        ]
        flat = torch.tensor([token for thought in thoughts for token in thought], device=self.device)
        self._extend(prefilled.sequence, flat, owners, positions)
        return self._thoughts(prefilled, [list(thought) for thought in thoughts], [True] * len(thoughts))

    def _extend(self, sequence: PackedSequence, tokens: Tensor, owners: list[int], positions: list[int]) -> Tensor:
        """One forward pass over n tokens (n,); returns the logits after each, (n, vocab)."""
        sequence.append(torch.tensor(owners, dtype=torch.int32, device=self.device))
        hidden = self.model.model.language_model(
            input_ids=tokens[None],
            attention_mask=sequence.mask()[None, None],
            position_ids=torch.tensor(positions, device=self.device).expand(3, 1, -1),
            past_key_values=sequence.cache,
        ).last_hidden_state
        return self._logits(hidden[0])

    def _logits(self, hidden: Tensor) -> Tensor:
        logits = self.model.lm_head(hidden).float()
        first = self.settings.first_trajectory_token
        logits[..., first : first + self.settings.trajectory_tokens] = -torch.inf
        return logits

    def _thoughts(self, prefilled: Prefilled, tokens: list[list[int]], complete: list[bool]) -> Thoughts:
        kv_cache, kv_owner = prefilled.sequence.hand_over()
        after = [prefilled.length + len(thought) + prefilled.rope_delta for thought in tokens]
        action_position = torch.tensor(after, dtype=torch.int32, device=self.device)
        return Thoughts(kv_cache, kv_owner, action_position, tokens, complete)


def _load_model(folder: Path, dtype: torch.dtype, device: torch.device) -> Qwen3VLForConditionalGeneration:
    model, loading = Qwen3VLForConditionalGeneration.from_pretrained(
        folder, dtype=dtype, attn_implementation="sdpa", local_files_only=True, output_loading_info=True
    )
    problems = {what: keys for what, keys in loading.items() if keys}
    if problems:
        raise RuntimeError(f"the weights in {folder} do not fit its config.json: {problems}")
    return model.to(device).eval().requires_grad_(False)
