"""Practice: the student drives, and learns what the driver would do from where that led (DAgger, Ross et al., 2011;
a round is an iteration of it).

Scenes from the driver's own drives do not show what a driver does not get into; in closed loop, a model does.
"""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from alpamayo_demo.drive.loop import PLAN_STEPS, Ride
from alpamayo_demo.drive.outline import touched
from alpamayo_demo.road.ego import DT_S
from alpamayo_demo.road.routes import long_road
from alpamayo_demo.road.scenes import WAYPOINTS
from alpamayo_demo.road.situations import Situation

from .batches import Batches
from .scenes_on_disk import PRACTISED, Arrays, arrays_of, leave_interrupts_to_the_parent, load, save
from .student import Student

SEED_SPACE = 4  # beside those of scenes and routes
ROUTES, SECONDS = 48, 24.0  # of a round
LOST_M = 2.5  # from the middle of its lane
DRAWN, FLOW_STEPS = 2, 5  # trajectories that are averaged, and how they are integrated: roughly, as this is practice


def practise(path: Path, number: int, student: Student, batches: Batches, workers: int) -> Arrays:
    """A round of practice, kept in the file `path`: a scene for every plan. Who is lost is not followed further."""
    seeds = range(number * ROUTES, (number + 1) * ROUTES)
    rides = {seed: Ride(*long_road(np.random.default_rng([SEED_SPACE, seed]), _situation(seed))) for seed in seeds}
    found: list[Arrays] = []
    with ProcessPoolExecutor(workers, initializer=leave_interrupts_to_the_parent) as pool:
        for _ in tqdm(range(round(SECONDS / DT_S) // PLAN_STEPS), desc="practising", unit="plan", leave=False):
            rides = {seed: ride for seed, ride in rides.items() if not lost(ride)}
            if not rides:
                break
            moments = [ride.moment() for ride in rides.values()]
            scenes = list(pool.map(arrays_of, moments, [len(found) + i for i in range(len(moments))], chunksize=4))
            shown = {name: np.array([it[name] for it in scenes]) for name in scenes[0]}
            actions = plans(student, batches, shown)
            missed_by = batches.missed_by(actions, shown["action"])
            found += [{**scene, "missed_by": it} for scene, it in zip(scenes, missed_by, strict=True)]
            for ride, action in zip(rides.values(), actions.tolist(), strict=True):
                for accel, curvature in action[:PLAN_STEPS]:
                    ride.go(accel, curvature)
    save(path, found, PRACTISED)
    return load(path, PRACTISED)


def _situation(seed: int) -> Situation:
    """That the route is made for: all in turn."""
    return list(Situation)[seed % len(Situation)]


def lost(ride: Ride) -> bool:
    """Far off its lane, or into something."""
    off = abs(ride.ego.d - ride.world.path_d(ride.ego.s))
    return off > LOST_M or touched(ride.world, ride.ego) is not None


@torch.no_grad()
def plans(student: Student, batches: Batches, scenes: Arrays) -> NDArray[np.float32]:
    """(B, 64, 2) acceleration in m/s2 and curvature in 1/m: what the student does, given the right thoughts."""
    device = next(student.parameters()).device
    batch = batches.shown(scenes)
    ids, stop = batch.ids.to(device), batch.stop.to(device)
    size, length = ids.shape
    positions, rope_delta = batches.position_ids(student)
    _, kv_cache, _ = student.read(ids, batch.patches.to(device), positions.to(device).expand(-1, size, -1))
    kv_cache = kv_cache.repeat_interleave(DRAWN, dim=2)
    sees = (torch.arange(length, device=device) <= stop[:, None]).repeat_interleave(DRAWN, dim=0)
    position = (rope_delta + stop + 1).repeat_interleave(DRAWN)
    noise = torch.randn(DRAWN, WAYPOINTS, 2, generator=torch.Generator().manual_seed(0))
    x: Tensor = noise.to(device).repeat(size, 1, 1)
    for i in range(FLOW_STEPS):
        t = torch.full((len(x),), i / FLOW_STEPS, device=device)
        x = x + student.velocity(x, t, kv_cache, sees, position) / FLOW_STEPS
    return batches.driven(x.unflatten(0, (size, DRAWN)).mean(dim=1).cpu())
