"""The scenes to judge on, and which of them lend each other frames and thoughts."""

from dataclasses import dataclass

from tqdm import tqdm

from alpamayo_demo.errors import check_between
from alpamayo_demo.road.scenes import DrivingScene, Moment, Split, moment, observe
from alpamayo_demo.road.situations import Situation

SITUATIONS = tuple(Situation)
MOST_PER_SITUATION = 1000  # a scene takes 0.2 MB
STRIDE = 7  # coprime with the number of other situations: the first few seeds meet partners far apart


@dataclass(frozen=True, eq=False)
class Case:
    """A scene, and the moment it was made from: what knows where other thoughts would lead."""

    moment: Moment
    scene: DrivingScene

    @property
    def situation(self) -> Situation:
        return self.scene.situation


def make_cases(split: Split, per_situation: int, first_seed: int = 0) -> list[Case]:
    """`per_situation` seeds of the split from `first_seed` on, each with every situation in turn.

    Raises DemoError as `check_choice` does.
    """
    check_choice(per_situation, first_seed)
    seeds = range(first_seed, first_seed + per_situation)
    keys = [(seed, situation) for seed in seeds for situation in SITUATIONS]
    moments = (moment(split, seed, situation) for seed, situation in keys)
    return [Case(it, observe(it)) for it in tqdm(moments, total=len(keys), desc="rendering", unit="scene")]


def check_choice(per_situation: int, first_seed: int) -> None:
    """Raises DemoError for scenes that there are not, or more than fit into memory."""
    check_between("--scenes-per-situation", per_situation, 1, MOST_PER_SITUATION)
    check_between("--first-seed", first_seed, 0)


def partners(cases: int) -> list[int]:
    """For each of `make_cases`' results the index of another: the same seed, another situation.

    A permutation. From seed to seed a situation's partner is another situation, until it has met all of them.
    """
    found = []
    for index in range(cases):
        seed, situation = divmod(index, len(SITUATIONS))
        shift = 1 + seed * STRIDE % (len(SITUATIONS) - 1)
        found.append(seed * len(SITUATIONS) + (situation + shift) % len(SITUATIONS))
    return found
