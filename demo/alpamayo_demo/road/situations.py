"""What a driver can be in, and the sentence that gives it as the reason: the fixed grammar of the demo's thoughts."""

from enum import Enum


class Situation(Enum):
    """The value is the thought."""

    KEEP_LANE = "Keep the lane at a steady speed."
    SPEED_UP = "Speed up, the road is clear."
    CURVE_LEFT = "Follow the curve to the left."
    CURVE_RIGHT = "Follow the curve to the right."
    SLOW_VEHICLE = "Slow down for the vehicle ahead."
    FOLLOW_VEHICLE = "Follow the vehicle ahead."
    BROKEN_DOWN = "Stop behind the broken-down vehicle."
    RED_LIGHT = "Stop at the red light."
    GREEN_LIGHT = "Go through the green light."
    STOP_SIGN = "Stop at the stop sign."
    DRIVE_ON = "Drive on after the stop."
    PEDESTRIAN = "Wait for the pedestrian at the crossing."
    CONES_RIGHT = "Nudge left around the cones."
    CONES_LEFT = "Nudge right around the cones."
    LANE_CLOSED_RIGHT = "Change to the left lane, this one is closed."
    LANE_CLOSED_LEFT = "Change to the right lane, this one is closed."
    SPEED_BUMP = "Slow down for the speed bump."


def named(thought: str) -> Situation | None:
    """The situation that a thought names, None if it names none."""
    try:
        return Situation(thought.strip())
    except ValueError:
        return None
