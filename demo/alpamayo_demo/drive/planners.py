"""Who plans: the served model, or the scripted driver that taught it."""

from collections.abc import Mapping
from typing import Any, Final

from alpamayo_client import AlpamayoClient, Prediction

from alpamayo_demo.road.imagined import imagined_action, imagined_future
from alpamayo_demo.road.scenes import Moment, observe
from alpamayo_demo.served import GIVE_UP_S

from .loop import Plan, Planner

DRAWN = 6  # trajectories for a thought: what chance adds to one of them is averaged out
ASKED: Final[Mapping[str, Any]] = {"num_traj_sets": DRAWN, "temperature": 0.0, "seed": 0}


def model(client: AlpamayoClient) -> Planner:
    """The most likely thought and the mean of the trajectories drawn for it, always from the same noise: no plan
    differs from the last by chance.
    """

    def planner(moment: Moment) -> Plan:
        scene = observe(moment)
        return plan_of(
            client.predict(
                scene.image_frames, scene.ego_history_xyz, scene.ego_history_rot, **ASKED, timeout_s=GIVE_UP_S
            )
        )

    return planner


def plan_of(answer: Prediction) -> Plan:
    """To what was ASKED."""
    return Plan(str(answer.cot[0, 0, 0]), answer.pred_xyz[0, :, 0].mean(axis=0), answer.action[0, :, 0].mean(axis=0))


def driver(moment: Moment) -> Plan:
    """What the scripted driver would do, who sees the world itself."""
    situation = moment.situation
    return Plan(situation.value, imagined_future(moment, situation), imagined_action(moment, situation))
