"""Full-sized requests at load, so that a server that is ready is also warm."""

import numpy as np
import torch
from contract import HISTORY_POSES, Parameters

from reasoner.reasoner import Reasoner
from reasoner.request import DEFAULT_GENERATION_LENGTH, ReasonerRequest

HEIGHT, WIDTH = 1080, 1920
USUAL_SAMPLES = (1, 6)
LENGTH = 2  # tokens: one from the prefill, and one from a decoding step


@torch.inference_mode()
def warm_up(reasoner: Reasoner) -> None:
    """Thinks about as many grey full-HD images as the repository allows, with room as for a usual request.

    On a GPU that makes the memory which such a request takes, and records its decoding step.
    """
    settings = reasoner.settings
    grey = np.full((3, HEIGHT, WIDTH), 128, dtype=np.uint8)
    # The largest first: what is recorded is lost when the memory grows.
    for samples in sorted({min(k, settings.max_trajectories) for k in USUAL_SAMPLES}, reverse=True):
        request = ReasonerRequest(
            images=[grey] * settings.max_images,
            ego_history_xyz=np.zeros((HISTORY_POSES, 3), dtype=np.float32),
            num_traj_samples=samples,
            max_generation_length=min(DEFAULT_GENERATION_LENGTH, settings.max_generation_length),
            parameters=Parameters(),
        )
        prefilled = reasoner.prefill(reasoner.look(request), samples, request.max_generation_length)
        reasoner.generate(prefilled, LENGTH, lambda logits, s: logits.argmax(dim=-1))
