"""Motion computed in another way than the product does: the unicycle's equations in very small steps, from poses."""

import numpy as np

DT = 0.1
SUBSTEPS = 20  # RK4: an error of 1e-9 already


def rk4(accel, curvature, speed: float, dt: float = DT):
    """The unicycle x' = v cos theta, y' = v sin theta, theta' = kappa v, v' = a, its controls constant over a step.

    Args:
        accel: (N,) m/s2.
        curvature: (N,) 1/m.
        speed: at the start, m/s.
        dt: seconds a step.

    Returns:
        x, y, theta, v after every step, (N, 4).
    """

    def slope(state, a, kappa):
        _, _, theta, v = state
        return np.array([v * np.cos(theta), v * np.sin(theta), kappa * v, a])

    state, states, h = np.array([0.0, 0.0, 0.0, speed]), [], dt / SUBSTEPS
    for a, kappa in zip(accel, curvature, strict=True):
        for _ in range(SUBSTEPS):
            k1 = slope(state, a, kappa)
            k2 = slope(state + h / 2 * k1, a, kappa)
            k3 = slope(state + h / 2 * k2, a, kappa)
            k4 = slope(state + h * k3, a, kappa)
            state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        states.append(state)
    return np.array(states)


def yaw_rotations(yaw) -> np.ndarray:
    c, s, o, i = np.cos(yaw), np.sin(yaw), np.zeros_like(yaw), np.ones_like(yaw)
    return np.stack([np.stack([c, -s, o], -1), np.stack([s, c, o], -1), np.stack([o, o, i], -1)], -2)


def history(speed: float, accel: float = 0.0, curvature: float = 0.0, z_slope: float = 0.0):
    """16 poses that end at the origin, along x, at `speed`, in closed form; positions (16, 3), rotations (16, 3, 3)."""
    t = np.arange(-15, 1) * DT
    travelled = speed * t + accel * t**2 / 2
    curvature = curvature or 1e-12  # a circle, if a wide one
    yaw = curvature * travelled
    xy = np.stack([np.sin(yaw), 1 - np.cos(yaw)], -1) / curvature
    xyz = np.concatenate([xy, z_slope * travelled[:, None]], -1)
    return xyz.astype(np.float32), yaw_rotations(yaw).astype(np.float32)


def curvature_of(xyz, theta):
    """Headings and positions back to signed curvature: heading change by distance."""
    return np.diff(theta) / np.linalg.norm(np.diff(xyz[:, :2], axis=0), axis=1)
