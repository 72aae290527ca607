"""An answer as AlpaSim's driver reads it, its older versions too. Frame: the rig, which is the ego frame, at t0."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checks import WAYPOINTS
from .prediction import WAYPOINTS_PER_S, Prediction


@dataclass(frozen=True, eq=False)
class ModelPrediction:
    """K trajectories and the one to drive, as AlpaSim reads them. Frame: the rig at t0."""

    candidate_positions: NDArray[np.float64]
    """(K, T, 3) metres, at t0 + 1 / output_frequency_hz, 2 / output_frequency_hz, .., up to 6.4 s."""
    candidate_rotations: NDArray[np.float64]
    """(K, T, 3, 3): from the rig at each waypoint to the rig at t0."""
    reasoning_text: str
    """The thought behind the one to drive."""
    selected_index: int = 0

    # AlpaSim reads these too. None: its driver counts the waypoints from the time and the pose of its request.
    selected_plan: None = None
    model_t0_us: None = None
    pose_local_to_rig_t0: None = None
    waypoint_timestamps_us: None = None
    debug_metadata: None = None

    @property
    def selected_positions(self) -> NDArray[np.float64]:
        """(T, 3) metres."""
        return self.candidate_positions[self.selected_index]

    @property
    def selected_rotations(self) -> NDArray[np.float64]:
        """(T, 3, 3)."""
        return self.candidate_rotations[self.selected_index]

    @property
    def trajectory_xy(self) -> NDArray[np.float64]:
        """(T, 2) metres: what older versions of AlpaSim read."""
        return self.selected_positions[:, :2]

    @property
    def headings(self) -> NDArray[np.float64]:
        """(T,) radians, to the left of x: what older versions of AlpaSim read."""
        return headings(self.selected_rotations)


def for_alpasim(prediction: Prediction, frequency_hz: int) -> ModelPrediction:
    """The samples of the first set, with waypoints at this rate up to 6.4 s."""
    waypoints = frequency_hz * WAYPOINTS // WAYPOINTS_PER_S
    times_s = np.arange(1, waypoints + 1) / frequency_hz
    known_s = np.concatenate([[0.0], prediction.timestamps_s])
    positions, rotations = prediction.pred_xyz[0, 0], prediction.pred_rot[0, 0]
    yaws = np.unwrap(np.insert(headings(rotations), 0, 0.0, axis=-1))  # the unicycle turns about z alone
    starting = np.insert(positions.astype(np.float64), 0, 0.0, axis=1)
    return ModelPrediction(
        candidate_positions=np.array(
            [np.stack([np.interp(times_s, known_s, axis) for axis in sample.T], axis=-1) for sample in starting]
        ),
        candidate_rotations=about_z(np.array([np.interp(times_s, known_s, sample) for sample in yaws])),
        reasoning_text=prediction.cot[0, 0, 0],
    )


def headings(rotations: NDArray[Any]) -> NDArray[np.float64]:
    """Radians (...) of rotations (..., 3, 3): where each one's x axis points, to the left of x."""
    yaws: NDArray[np.float64] = np.arctan2(rotations[..., 1, 0], rotations[..., 0, 0]).astype(np.float64)
    return yaws


def about_z(yaws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotations (..., 3, 3) by radians (...)."""
    cos, sin, zero = np.cos(yaws), np.sin(yaws), np.zeros_like(yaws)
    rows = [[cos, -sin, zero], [sin, cos, zero], [zero, zero, zero + 1]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
