"""Qwen3-VL, thinking: one prefill, then K thoughts decoded together as one packed sequence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from contract import InvalidRequest
from cuda_graph import Record
from random_weights import randomise
from torch import Tensor
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.initialization import no_init_weights

from reasoner.attention import causal, masked
from reasoner.decoding import Decoder
from reasoner.frames import FrameReader
from reasoner.images import preprocess
from reasoner.language_model import LanguageModel
from reasoner.laps import Enter, nobody_asks
from reasoner.packed_sequence import KvMemory, PackedSequence
from reasoner.prompt import PromptTokenizer
from reasoner.request import ReasonerRequest
from reasoner.sampling import next_tokens, thought_uniforms
from reasoner.settings import ReasonerSettings
from reasoner.stop_rules import StopRules
from reasoner.vision import VisionTower, stream

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Thoughts:
    """K thoughts as the denoiser needs them, T tokens in one packed sequence.

    Attributes:
        kv_cache: (layers, 2, kv_heads, T, head_dim); on a GPU it may be overwritten by the next request's.
        kv_owner: (T,) int32; -2 is nobody, whose rows are zero.
        action_position: (K,) int32, on the CPU: the RoPE position of the first action token that follows each thought.
        tokens: what was generated or given, the stop token included.
        complete: (K,) whether the stop token came.
    """

    kv_cache: Tensor
    kv_owner: Tensor
    action_position: Tensor
    tokens: list[list[int]]
    complete: list[bool]


@dataclass(frozen=True)
class Scene:
    """What the network is shown.

    Attributes:
        prompt: (1, P) token ids.
        pixel_values: (patches, 1536) float32, of all images, on the device.
        image_grid_thw: (images, 3), the patch grid of each, on the CPU.
    """

    prompt: Tensor
    pixel_values: Tensor
    image_grid_thw: Tensor


@dataclass(frozen=True)
class Prefilled:
    """The prompt in its packed sequence, with room for the thoughts.

    Attributes:
        logits: (1, vocab) of the first token after it, in float32; trajectory tokens are -inf.
        rope_delta: a later token's RoPE position minus its index in prompt and thought.
    """

    sequence: PackedSequence
    logits: Tensor
    rope_delta: int

    def position(self, s: int) -> int:
        """The RoPE position of token s of a thought."""
        return self.sequence.prompt + self.rope_delta + s


def _never_stop() -> None:
    """The default: nobody cancels."""


class Reasoner:
    """The network, its tokenizer and the repository's limits, on one device."""

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        record: Record | None = None,
        log: Callable[[str], None] = print,
    ) -> None:
        """`record`: how decoding steps are recorded (`decoding.py`)."""
        self.settings = ReasonerSettings.load(folder)
        self.device = device
        self.tokenizer = PromptTokenizer(folder / "tokenizer.json", self.settings)
        self.model = _load_model(folder, self.settings, device, log)
        text = self.text_config = self.model.config.text_config
        self.frames = FrameReader(device, log)
        self.vision = VisionTower(self.model.model.visual)
        self._language_model = LanguageModel(self.model.model.language_model)
        self._memory = KvMemory(
            text.num_hidden_layers,
            text.num_key_value_heads,
            text.head_dim,
            DTYPES[self.settings.precision],
            device,
            stays=record is not None,
        )
        self._decoder = Decoder(self._language_model, self._logits, self._memory, record, log)

    @torch.inference_mode()
    def think(
        self,
        request: ReasonerRequest,
        seed: int,
        raise_if_stopped: Callable[[], None] = _never_stop,
        enter: Enter = nobody_asks,
    ) -> Thoughts:
        """The request's thoughts: generated from the stream of `seed`, then the given ones.

        Enters the stages decode_images, preprocess, prefill and decode.

        Raises:
            InvalidRequest: a given thought is too long or no plain text, or an image is broken.
            Exception: whatever `raise_if_stopped`, called before every batch of images and forward pass, raises.
        """
        given = [self.tokenizer.thought(text, f"reasoning[{i}]") for i, text in enumerate(request.reasoning or [])]
        thoughts, length = request.num_traj_samples, request.max_generation_length
        all_given = len(given) == thoughts
        if not all_given:
            _check_fits_beside(given, length)
        scene = self.look(request, raise_if_stopped, enter)
        raise_if_stopped()
        enter("prefill")
        prefilled = self.prefill(scene, thoughts, max(map(len, given)) if all_given else length)
        enter("decode")
        if all_given:
            raise_if_stopped()
            return self.recite(prefilled, given)
        p = request.parameters
        uniforms = thought_uniforms(seed, thoughts, length).to(self.device)
        fixed = _fixed_tokens(given, thoughts, length).to(self.device)

        def sample(logits: Tensor, s: int) -> Tensor:
            drawn = next_tokens(logits, uniforms[:, s], p.temperature, p.top_p, p.top_k)
            return torch.where(fixed[:, s] >= 0, fixed[:, s], drawn)

        return self.generate(prefilled, length, sample, raise_if_stopped)

    def look(
        self,
        request: ReasonerRequest,
        raise_if_stopped: Callable[[], None] = _never_stop,
        enter: Enter = nobody_asks,
    ) -> Scene:
        """The request's scene; `raise_if_stopped` is called before every batch. Raises InvalidRequest."""
        batches = self.frames.batches(request.images, raise_if_stopped, enter)
        pixel_values, image_grid_thw = preprocess(batches, self.settings.min_pixels, self.settings.max_pixels)
        prompt = self.tokenizer.prompt(image_grid_thw, torch.from_numpy(request.ego_history_xyz))
        return Scene(prompt, pixel_values, image_grid_thw)

    def prefill(self, scene: Scene, thoughts: int, length: int) -> Prefilled:
        """Runs the prompt with its images once, and makes room for so many thoughts of so many tokens."""
        prompt, image_grid_thw = scene.prompt, scene.image_grid_thw
        is_image = prompt == self.model.config.image_token_id
        position_ids, rope_delta = self.model.model.get_rope_index(
            prompt, mm_token_type_ids=is_image.int(), image_grid_thw=image_grid_thw
        )
        seen, deepstack = self.vision(scene.pixel_values, image_grid_thw)
        image_rows = is_image[0].nonzero().flatten().to(self.device)
        sequence = self._memory.place(prompt.shape[1], thoughts, length)
        hidden = self._language_model(
            self._embed(prompt[0]).index_copy_(0, image_rows, seen),
            self._language_model.rope(position_ids[:, 0].to(self.device)),
            sequence.kv,
            torch.arange(sequence.prompt, device=self.device),
            causal,
            image_rows,
            deepstack,
        )
        return Prefilled(sequence, self._logits(hidden[-1:]), int(rope_delta))

    def generate(
        self,
        prefilled: Prefilled,
        max_length: int,
        sample: Callable[[Tensor, int], Tensor],
        raise_if_stopped: Callable[[], None] = _never_stop,
    ) -> Thoughts:
        """Decodes thoughts side by side, until each has ended (`stop_rules.py`).

        Args:
            prefilled: the prompt, with room for K thoughts.
            max_length: tokens a thought.
            sample: (logits (K, vocab), s) to token s of every thought (K,); those of thoughts that have ended are
                ignored.
            raise_if_stopped: called before every forward pass.
        """
        sequence = prefilled.sequence
        rules = StopRules(
            sequence.thoughts, max_length, self.settings.stop_token, self.text_config.eos_token_id, self.device
        )
        decode: Callable[[Tensor, Tensor, int, int], Tensor] | None = None
        logits = prefilled.logits.expand(sequence.thoughts, -1)
        steps = 0
        for s in range(max_length):
            drawn = sample(logits, s)
            fed = rules.take(drawn, s)
            any_fed, any_running = rules.left_to_do(fed)
            if any_fed:
                raise_if_stopped()
                # Not before: what ends with its first token is not worth a recording, which writes rows too.
                decode = decode or self._decoder.bind(sequence)
                logits = decode(self._embed(drawn), fed, s, prefilled.position(s))
                steps = s + 1
            if not any_running:
                break
        return self._thoughts(prefilled, steps, *rules.result())

    def recite(self, prefilled: Prefilled, thoughts: Sequence[Sequence[int]]) -> Thoughts:
        """Given thoughts, all their tokens in one forward pass; each ends with the stop token."""
        sequence = prefilled.sequence
        places = [(i, s, token) for i, thought in enumerate(thoughts) for s, token in enumerate(thought)]
        owners, steps, tokens = torch.tensor(places, device=self.device).T
        rows = sequence.prompt + steps * sequence.thoughts + owners
        sequence.owner.index_copy_(0, rows, owners.int())
        self._language_model(
            self._embed(tokens),
            self._language_model.rope((prefilled.position(0) + steps).expand(3, -1)),
            sequence.kv,
            rows,
            masked(sequence.mask(rows, owners)),
        )
        longest = max(map(len, thoughts))
        return self._thoughts(prefilled, longest, [list(thought) for thought in thoughts], [True] * len(thoughts))

    def _embed(self, tokens: Tensor) -> Tensor:
        """(n,) to (n, hidden), on the device. Waits for it if the table is in host memory."""
        embedding = self.model.get_input_embeddings()
        return embedding(tokens.to(embedding.weight.device)).to(self.device)

    def _logits(self, hidden: Tensor) -> Tensor:
        logits = self.model.lm_head(hidden).float()
        first = self.settings.first_trajectory_token
        logits[..., first : first + self.settings.trajectory_tokens] = -torch.inf
        return logits

    def _thoughts(self, prefilled: Prefilled, steps: int, tokens: list[list[int]], complete: list[bool]) -> Thoughts:
        kv_cache, kv_owner = prefilled.sequence.hand_over(steps)
        after = [prefilled.position(len(thought)) for thought in tokens]
        return Thoughts(kv_cache, kv_owner, torch.tensor(after, dtype=torch.int32), tokens, complete)


def _check_fits_beside(given: Sequence[Sequence[int]], length: int) -> None:
    """Beside thoughts that are generated, given ones are decoded with them, token by token."""
    for i, thought in enumerate(given):
        if len(thought) > length:
            raise InvalidRequest(
                f"reasoning[{i}] has {len(thought)} tokens, its end included; beside thoughts that are generated, "
                f"wanted at most max_generation_length, {length}"
            )


def _fixed_tokens(given: Sequence[Sequence[int]], thoughts: int, length: int) -> Tensor:
    """(thoughts, length): the given thoughts' tokens, in the last rows; -1 where a token is drawn."""
    fixed = torch.full((thoughts, length), -1)
    for row, thought in zip(fixed[thoughts - len(given) :], given, strict=True):
        row[: len(thought)] = torch.tensor(thought)
    return fixed


def _load_model(
    folder: Path, settings: ReasonerSettings, device: torch.device, log: Callable[[str], None] = print
) -> Qwen3VLForConditionalGeneration:
    """On the device, but for what stays in host memory."""
    model = _weights(folder, settings, device, log)
    if "vision" in settings.offload:
        stream(model.model.visual, device)
    if "embedding" in settings.offload:
        table = model.get_input_embeddings()
        model.set_input_embeddings(None)  # aside: it is never to take room on the device
        model.to(device).set_input_embeddings(table.cpu())
    else:
        model.to(device)
    return model.eval().requires_grad_(False)


def _weights(
    folder: Path, settings: ReasonerSettings, device: torch.device, log: Callable[[str], None]
) -> Qwen3VLForConditionalGeneration:
    """As the files hold them, in host memory; or random ones, drawn on the device."""
    dtype, sdpa = DTYPES[settings.precision], "sdpa"
    if settings.random_seed is not None:
        log(f"random weights (seed {settings.random_seed}): for measurements, the answers mean nothing")
        with device, no_init_weights():
            model = Qwen3VLForConditionalGeneration._from_config(
                Qwen3VLConfig.from_pretrained(folder), dtype=dtype, attn_implementation=sdpa
            )
        randomise(model, settings.random_seed)
        return model
    model, loading = Qwen3VLForConditionalGeneration.from_pretrained(
        folder, dtype=dtype, attn_implementation=sdpa, local_files_only=True, output_loading_info=True
    )
    problems = {what: keys for what, keys in loading.items() if keys}
    if problems:
        raise RuntimeError(f"the weights in {folder} do not fit its config.json: {problems}")
    return model
