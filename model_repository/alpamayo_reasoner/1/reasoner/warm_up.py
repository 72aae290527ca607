"""A full-sized request at load, so that a server that is ready is also warm."""

import numpy as np
from contract import HISTORY_POSES, Parameters

from reasoner.reasoner import Reasoner
from reasoner.request import ReasonerRequest

HEIGHT, WIDTH = 1080, 1920
LENGTH = 2  # tokens: one from the prefill, and one from a decoding step


def warm_up(reasoner: Reasoner) -> None:
    """Thinks about as many grey full-HD images as the repository allows."""
    grey = np.full((3, HEIGHT, WIDTH), 128, dtype=np.uint8)
    request = ReasonerRequest(
        images=[grey] * reasoner.settings.max_images,
        ego_history_xyz=np.zeros((HISTORY_POSES, 3), dtype=np.float32),
        num_traj_samples=min(2, reasoner.settings.max_trajectories),
        max_generation_length=min(LENGTH, reasoner.settings.max_generation_length),
        parameters=Parameters(),
    )
    reasoner.think(request, seed=0)
