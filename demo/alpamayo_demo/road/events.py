"""What happens on the road: each event knows what it demands of the driver, which situation it is, how it goes on."""

from dataclasses import dataclass, field
from math import copysign, inf

from .ego import DT_S, LENGTH_M, Ego
from .situations import Situation

LANE_M = 3.5
LANES_D = RIGHT_LANE_D, LEFT_LANE_D = (-LANE_M / 2, LANE_M / 2)
REACH_M = 40.0  # the driver attends to what is this close to its bumper
STANDING_MPS, AT_THE_LINE_M = 0.1, 6.0
BUMP_MPS = 4.0
NUDGE_M = 0.55  # leaves a quarter of a metre to the line


@dataclass
class Event:
    """At `s` metres along the road's middle, in the lane whose middle is at `d`, one of LANES_D."""

    s: float
    d: float

    def near(self, ego: Ego) -> bool:
        """Within the driver's reach and not passed."""
        return 0 < self.s - ego.front_s < REACH_M

    def stood_at(self, ego: Ego) -> bool:
        """The car stands before it, and not far from it."""
        return 0 < self.s - ego.front_s < AT_THE_LINE_M and ego.speed < STANDING_MPS

    def gap_m(self, ego: Ego) -> float:
        """Free way to where the driver must not drive now; inf if there is none."""
        return inf

    def speed_mps(self) -> float:
        """Of what is at the end of that gap."""
        return 0.0

    def limit_mps(self) -> float:
        """How fast it may be passed."""
        return inf

    def offset_m(self, s: float) -> float:
        """By how much the driver's path is moved to the left at s."""
        return 0.0

    def situation(self, ego: Ego) -> Situation | None:
        """What it is to the driver; None if it is nothing."""
        return None

    def go_on(self, ego: Ego) -> None:
        """DT_S later: signals, pedestrians and the driver's own patience."""

    def move(self) -> None:
        """DT_S later: what moves by itself and is foreseen by the driver."""


@dataclass
class Vehicle(Event):
    """Ahead in the same lane; `s` is its rear bumper. Brake lights are on below 6 m/s."""

    speed: float
    colour: tuple[float, float, float] = (0.15, 0.25, 0.55)

    def near(self, ego: Ego) -> bool:
        return -LENGTH_M < self.s - ego.front_s < REACH_M

    def gap_m(self, ego: Ego) -> float:
        return self.s - ego.front_s if self.near(ego) else inf

    def speed_mps(self) -> float:
        return self.speed

    @property
    def hazard(self) -> bool:
        """Its hazard lights are on."""
        return self.speed == 0

    @property
    def braking(self) -> bool:
        return 0 < self.speed < 6.0

    def situation(self, ego: Ego) -> Situation | None:
        if not self.near(ego):
            return None
        if self.speed == 0:
            return Situation.BROKEN_DOWN
        return Situation.SLOW_VEHICLE if ego.speed > self.speed + 1.0 else Situation.FOLLOW_VEHICLE

    def move(self) -> None:
        self.s += self.speed * DT_S


@dataclass
class LeavingVehicle(Vehicle):
    """Speeds up and leaves when it has been followed for a while: for long routes."""

    patience_s: float = 4.0

    def go_on(self, ego: Ego) -> None:
        if self.near(ego):
            self.patience_s -= DT_S
        if self.patience_s < 0:
            self.speed = min(self.speed + 2.0 * DT_S, 16.0)


@dataclass
class TrafficLight(Event):
    """`s` is the stop line. A red light turns green when a car has stood at it for 2 s."""

    green: bool
    waited_s: float = 0.0

    def gap_m(self, ego: Ego) -> float:
        return self.s - ego.front_s if self.near(ego) and not self.green else inf

    def situation(self, ego: Ego) -> Situation | None:
        if not -2.0 < self.s - ego.front_s < REACH_M:
            return None
        return Situation.GREEN_LIGHT if self.green else Situation.RED_LIGHT if self.near(ego) else None

    def go_on(self, ego: Ego) -> None:
        if self.stood_at(ego):
            self.waited_s += DT_S
        self.green = self.green or self.waited_s > 2.0


@dataclass
class StopSign(Event):
    """`s` is the stop line. Done when the car has stood there, once, for 1.7 s: somewhat longer than an ego history."""

    stood_s: float = 0.0
    """The longest stop so far."""
    standing_s: float = 0.0
    """The present one."""

    @property
    def done(self) -> bool:
        return self.stood_s > 1.65

    def gap_m(self, ego: Ego) -> float:
        return self.s - ego.front_s if self.near(ego) and not self.done else inf

    def situation(self, ego: Ego) -> Situation | None:
        if self.done:
            return Situation.DRIVE_ON if ego.s < self.s else None
        return Situation.STOP_SIGN if self.near(ego) else None

    def go_on(self, ego: Ego) -> None:
        self.standing_s = self.standing_s + DT_S if self.stood_at(ego) else 0.0
        self.stood_s = max(self.stood_s, self.standing_s)


@dataclass
class Crossing(Event):
    """`s` is where the zebra begins; a pedestrian sets off from one side when a car comes near."""

    pedestrian_d: float
    walking_mps: float
    """Positive to the left."""
    walking: bool = field(default=False)

    @property
    def side(self) -> float:
        """To which the pedestrian walks: 1 to the left, -1 to the right."""
        return copysign(1.0, self.walking_mps)

    @property
    def occupied(self) -> bool:
        """Until the pedestrian has left the car's lane behind."""
        return self.side * (self.pedestrian_d - self.d) < 2.6

    def gap_m(self, ego: Ego) -> float:
        return self.s - ego.front_s if self.near(ego) and self.occupied else inf

    def situation(self, ego: Ego) -> Situation | None:
        return Situation.PEDESTRIAN if self.near(ego) and self.occupied else None

    def go_on(self, ego: Ego) -> None:
        self.walking = self.walking or self.near(ego)
        if self.walking and self.side * self.pedestrian_d < LANE_M + 4.0:
            self.pedestrian_d += self.walking_mps * DT_S


@dataclass
class Cones(Event):
    """From `s` on, `LENGTH` long, on one side of the lane."""

    on_the_right: bool
    LENGTH = 12.0

    def offset_m(self, s: float) -> float:
        there, back = smoothstep((s - self.s + 22.0) / 18.0), smoothstep((s - self.s - self.LENGTH - 4.0) / 18.0)
        return (NUDGE_M if self.on_the_right else -NUDGE_M) * (there - back)

    def situation(self, ego: Ego) -> Situation | None:
        if not -self.LENGTH < self.s - ego.front_s < REACH_M:
            return None
        return Situation.CONES_RIGHT if self.on_the_right else Situation.CONES_LEFT


@dataclass
class LaneClosed(Event):
    """A barrier at `s` across the lane `d`; the car changes to the other one before it."""

    def offset_m(self, s: float) -> float:
        return (LANE_M if self.d < 0 else -LANE_M) * smoothstep((s - self.s + 38.0) / 26.0)

    def situation(self, ego: Ego) -> Situation | None:
        if not 10.0 < self.s - ego.front_s < REACH_M:
            return None
        return Situation.LANE_CLOSED_RIGHT if self.d < 0 else Situation.LANE_CLOSED_LEFT


@dataclass
class SpeedBump(Event):
    """`s` is where it begins."""

    def near(self, ego: Ego) -> bool:
        return -LENGTH_M < self.s - ego.front_s < REACH_M

    def limit_mps(self) -> float:
        return BUMP_MPS

    def situation(self, ego: Ego) -> Situation | None:
        return Situation.SPEED_BUMP if self.near(ego) else None


def smoothstep(x: float) -> float:
    """0 to 1 with zero slope and zero curvature at both ends."""
    x = min(max(x, 0.0), 1.0)
    return x * x * x * (10 - 15 * x + 6 * x * x)
