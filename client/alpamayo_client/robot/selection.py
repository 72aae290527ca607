"""Which frames and poses make a scene at t0, and in words why some do not. Times are microseconds."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..checks import HISTORY_STEPS

STEP_US: Final = 100_000  # the model's: frames and poses at 10 Hz
FRAMES: Final = 4
FRAME_OFFSETS_US: Final = np.arange(1 - FRAMES, 1, dtype=np.int64) * STEP_US
POSE_OFFSETS_US: Final = np.arange(1 - HISTORY_STEPS, 1, dtype=np.int64) * STEP_US

Times = NDArray[np.int64]


def choose_t0(times_us: Mapping[str, Times], t0_us: int | None, lag_us: int) -> tuple[int, dict[str, str]]:
    """`t0_us`, or the newest time that all have reached; and who is more than `lag_us` behind the newest, in words."""
    last_us = {name: int(times[-1]) for name, times in times_us.items() if len(times)}
    newest_us, newest = max(((us, name) for name, us in last_us.items()), default=(0, ""))
    judged = last_us if t0_us is None else {"t0": t0_us}
    behind_us = {name: newest_us - us for name, us in judged.items() if newest_us - us > lag_us}
    problems = {
        name: f"{us / 1000:.1f} ms behind the newest ({newest}), wanted at most {lag_us / 1000:.1f} ms"
        for name, us in behind_us.items()
    }
    if t0_us is None:
        t0_us = min((us for name, us in last_us.items() if name not in problems), default=0)
    ahead_us = min((newest_us - us for name, us in last_us.items() if name != newest), default=0)
    if problems and ahead_us > lag_us:
        problems[newest] = (
            f"{ahead_us / 1000:.1f} ms ahead of all others: if that time is wrong, clear() the buffer; with clock_us= "
            "it refuses such times"
        )
    return t0_us, problems


def nearest_distinct(times_us: Times, wanted_us: Times, tolerance_us: int) -> list[int] | None:
    """For each of `wanted_us` the index of a frame of its own, in order, at the least sum of distances.

    Both are ascending. Of two choices as good, the older frames. None if not all can be within the tolerance.
    """
    distances = np.abs(times_us - wanted_us[:, None]).astype(np.float64)
    distances[distances > tolerance_us] = np.inf
    sums = []  # [i][j]: the least sum for wanted 0 .. i if i gets frame j
    least = np.zeros(len(times_us) + 1)  # [j]: the same if it gets one before frame j
    for distance in distances:
        sums.append(distance + least[:-1])
        least = np.concatenate([[np.inf], np.minimum.accumulate(sums[-1])])
    if not np.isfinite(least[-1]):
        return None
    picked = [len(times_us)]
    for row in reversed(sums):
        picked.insert(0, int(np.argmin(row[: picked[0]])))
    return picked[:-1]


def why_not_frames(times_us: Times, t0_us: int, offsets_us: Times, tolerance_us: int) -> str:
    """What a camera lacks for a scene at t0."""
    wanted = f"wanted {len(offsets_us)} within {tolerance_us / 1000:.1f} ms of {_listed(offsets_us)} ms"
    if len(times_us) == 0:
        return f"no frames, {wanted}"
    nearest_us = np.abs(times_us - (t0_us + offsets_us)[:, None]).min(axis=1)
    far = nearest_us > tolerance_us
    misses = [
        f"t0{offset / 1000:+.0f} ms by {distance / 1000:.1f} ms"
        for offset, distance in zip(offsets_us[far], nearest_us[far], strict=True)
    ]
    missed = f"misses {', '.join(misses)}" if misses else "one would have to serve twice"
    return f"{len(times_us)} frames {_span(times_us, t0_us)}, {wanted}: {missed}"


def why_not_poses(times_us: Times, t0_us: int, gap_us: int) -> str | None:
    """What the poses lack for a scene at t0: nothing is extrapolated. None: nothing."""
    wanted = f"wanted t0{POSE_OFFSETS_US[0] / 1000:+.0f} .. t0+0.0 ms"
    if len(times_us) < 2:
        return f"{len(times_us)} of them, {wanted}"
    wanted_us = t0_us + POSE_OFFSETS_US
    outside = (wanted_us < times_us[0]) | (wanted_us > times_us[-1])
    if outside.any():
        return f"{_span(times_us, t0_us)}, {wanted}: none for {_listed(POSE_OFFSETS_US[outside])} ms"
    after = times_us[np.searchsorted(times_us, wanted_us, side="left")]
    gaps_us = after - times_us[np.searchsorted(times_us, wanted_us, side="right") - 1]
    wide = gaps_us > gap_us
    if not wide.any():
        return None
    return (
        f"up to {gaps_us.max() / 1000:.1f} ms between neighbours, wanted at most {gap_us / 1000:.1f} ms: too far apart "
        f"around {_listed(POSE_OFFSETS_US[wide])} ms"
    )


def _span(times_us: Times, t0_us: int) -> str:
    first, last = (times_us[[0, -1]] - t0_us) / 1000
    return f"from t0{first:+.1f} to t0{last:+.1f} ms"


def _listed(offsets_us: Times) -> str:
    return ", ".join(f"t0{offset / 1000:+.0f}" for offset in offsets_us)
