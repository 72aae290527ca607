"""What the served ensemble answers: to a scene, to it with another's frames, and to it with another's thought."""

from dataclasses import dataclass, field

from alpamayo_client import AlpamayoClient, Prediction
from alpamayo_client.checks import EncodedFrames
from numpy.typing import ArrayLike
from tqdm import tqdm

from alpamayo_demo.errors import check_between
from alpamayo_demo.road.scenes import DrivingScene
from alpamayo_demo.served import GIVE_UP_S

from .cases import Case, partners

MAX_SEED = 2**52  # and as many scenes as there may be: the contract's seeds end at 2^53 - 1


@dataclass(frozen=True)
class Sampling:
    """How the server is asked. Raises DemoError for less than one sample, or a seed outside 0 .. MAX_SEED."""

    samples: int = 6
    """Thoughts, each with its trajectory: the metrics' K."""
    seed: int = 0
    """Scene i is asked with `seed` + i, so that chance differs from scene to scene."""
    temperature: float = 0.6
    inference_steps: int = 10
    thinks: bool = True
    """False: every sample is given the empty thought, and nothing is decoded."""

    def __post_init__(self) -> None:
        check_between("samples", self.samples, 1)
        check_between("seed", self.seed, 0, MAX_SEED)


@dataclass(frozen=True)
class Answers:
    """One for each case, in their order."""

    own: list[Prediction] = field(default_factory=list)
    frames_swapped: list[Prediction] = field(default_factory=list)
    """The case's history with the frames of its partner."""
    thought_given: list[Prediction] = field(default_factory=list)
    """The case with its partner's thought as the reasoning of every sample."""


def ask(
    client: AlpamayoClient,
    scene: DrivingScene,
    sampling: Sampling,
    index: int,
    *,
    frames: ArrayLike | EncodedFrames | None = None,
    thought: str | None = None,
) -> Prediction:
    """The answer to the scene with this index; other `frames` than its own, or a `thought` for all samples.

    Raises:
        AlpamayoError: the server refuses, fails or is gone.
    """
    if not sampling.thinks:
        thought = ""
    return client.predict(
        scene.image_frames if frames is None else frames,
        scene.ego_history_xyz,
        scene.ego_history_rot,
        num_traj_samples=sampling.samples,
        temperature=sampling.temperature,
        inference_steps=sampling.inference_steps,
        seed=sampling.seed + index,
        reasoning=None if thought is None else [thought] * sampling.samples,
        timeout_s=GIVE_UP_S,
    )


def ask_all(client: AlpamayoClient, cases: list[Case], sampling: Sampling) -> Answers:
    """One request at a time: the stages of a single one keep a small machine's cores busy. Raises as `ask` does."""
    answers = Answers()
    with tqdm(total=3 * len(cases), desc="driving", unit="request") as progress:
        for index, partner in enumerate(partners(len(cases))):
            scene, other = cases[index].scene, cases[partner].scene
            answers.own.append(ask(client, scene, sampling, index))
            answers.frames_swapped.append(ask(client, scene, sampling, index, frames=other.image_frames))
            answers.thought_given.append(ask(client, scene, sampling, index, thought=other.situation.value))
            progress.update(3)
    return answers
