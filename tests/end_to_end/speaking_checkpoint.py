"""A golden checkpoint that speaks: greedy decoding of one golden scene says SPEECH, then the thought's end.

The golden weights are random and so are their thoughts. Here the language model's head is solved for the hidden
states that the given thought leads through; nothing else changes.
"""

import shutil
from pathlib import Path

import numpy as np
import torch
from alpamayo_export.checkpoint import open_checkpoint
from alpamayo_export.export import Options, export
from alpamayo_export.limits import Limits
from contract import Parameters
from reasoner.reasoner import Reasoner
from reasoner.request import ReasonerRequest
from safetensors.torch import load_file, save_file
from torch import Tensor

from .golden_case import GOLDEN, GoldenCase

SPEECH = "Slow down."
HEAD = "vlm.lm_head.weight"
SURE = 50.0  # logit of the wanted token, where a golden one has a few units


def speaking_repository(golden_repository: Path, case: GoldenCase, folder: Path) -> Path:
    """Writes such a checkpoint, and exports it.

    Args:
        golden_repository: the golden checkpoint, exported.
        case: the scene to speak about.
        folder: an empty one.
    """
    states, tokens = _states_and_tokens(golden_repository, case)
    checkpoint = folder / "checkpoint"
    shutil.copytree(GOLDEN / "checkpoint", checkpoint)
    weights = load_file(checkpoint / "model.safetensors")
    weights[HEAD] = _head_that_says(tokens, states, weights[HEAD])
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    options = Options("fp32", "onnxruntime", Limits(max_images=2, max_trajectories=6, max_generation_length=32))
    export(open_checkpoint(str(checkpoint)), folder / "repository", options)
    return folder / "repository"


def _states_and_tokens(repository: Path, case: GoldenCase) -> tuple[Tensor, Tensor]:
    """The head's inputs (n, width) before each of the n tokens of SPEECH and the thought's end, and these tokens."""
    reasoner = Reasoner(repository / "alpamayo_reasoner" / "1", torch.device("cpu"))
    seen: list[Tensor] = []
    reasoner.model.lm_head.register_forward_hook(lambda module, args, output: seen.append(args[0]))
    request = ReasonerRequest(
        images=[np.ascontiguousarray(frame) for camera in case["frames"] for frame in camera],
        ego_history_xyz=case["ego_history_xyz"][0, 0],
        num_traj_samples=1,
        max_generation_length=32,
        parameters=Parameters(),
    )
    tokens = torch.tensor(reasoner.tokenizer.thought(SPEECH, "SPEECH"))
    with torch.inference_mode():
        prefilled = reasoner.prefill(reasoner.look(request), thoughts=1, length=len(tokens))
        reasoner.generate(prefilled, len(tokens), lambda logits, s: tokens[s : s + 1])
    return torch.cat(seen[:-1]), tokens


def _head_that_says(tokens: Tensor, states: Tensor, head: Tensor) -> Tensor:
    """`head` (vocabulary, width) with new rows for `tokens` (n,): logit SURE after its state, 0 after the others."""
    assert torch.linalg.matrix_rank(states) == len(states) < states.shape[1]
    rows = tokens.unique()
    wanted = SURE * (tokens[:, None] == rows).double()
    solved = head.clone()
    solved[rows] = torch.linalg.lstsq(states.double(), wanted, driver="gelsd").solution.T.float()
    assert torch.equal((states @ solved.T).argmax(dim=-1), tokens)
    return solved
