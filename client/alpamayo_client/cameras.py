"""The model's cameras."""

CAMERAS = (
    "camera_cross_left_120fov",
    "camera_front_wide_120fov",
    "camera_cross_right_120fov",
    "camera_rear_left_70fov",
    "camera_rear_tele_30fov",
    "camera_rear_right_70fov",
    "camera_front_tele_30fov",
)
"""By ascending camera index, the order in which the model wants to see them; the dataset's names, and AlpaSim's."""
REFERENCE_CAMERAS = (CAMERAS[0], CAMERAS[1], CAMERAS[2], CAMERAS[6])
"""The four that the reference shows it."""
