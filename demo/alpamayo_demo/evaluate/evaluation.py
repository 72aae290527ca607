"""The evaluation: what a served checkpoint answers to scenes, scored, beside the driver and the blind baselines."""

from typing import Any

from alpamayo_client import AlpamayoClient
from alpamayo_client.metrics import min_ade

from alpamayo_demo.road.imagined import imagined_future

from . import scores
from .baselines import BASELINES, Driven, estimate
from .cases import Case, partners
from .predictions import Answers, Sampling, ask_all


def evaluate(client: AlpamayoClient, cases: list[Case], sampling: Sampling) -> dict[str, Any]:
    """The result's numbers, as JSON. Raises AlpamayoError if the server fails."""
    answers = ask_all(client, cases, sampling)
    return {"model": score_model(answers, cases), "probes": score_probes(answers, cases)} | score_others(cases)


def score_model(answers: Answers, cases: list[Case]) -> dict[str, Any]:
    """Accuracy, thoughts and comfort of the answers to the scenes as they are."""
    scenes, situations = [case.scene for case in cases], [case.situation for case in cases]
    scored = [
        scores.accuracy(answer.pred_xyz, scene.ego_future_xyz)
        | scores.reasoning(answer.cot, answer.reasoning_complete, scene.situation)
        for answer, scene in zip(answers.own, scenes, strict=True)
    ]
    horizons = [
        scores.by_horizon(answer.pred_xyz, scene.ego_future_xyz)
        for answer, scene in zip(answers.own, scenes, strict=True)
    ]
    return {
        "overall": scores.mean(scored),
        "by_situation": scores.mean_by_situation(scored, situations),
        "min_ade_m_by_horizon": scores.mean(horizons),
        "comfort": scores.comfort_of((answer.pred_xyz, answer.action) for answer in answers.own),
    }


def score_others(cases: list[Case]) -> dict[str, Any]:
    """The same of the baselines, which have one trajectory and no thoughts, and the driver's comfort."""
    scenes, situations = [case.scene for case in cases], [case.situation for case in cases]
    motions = [estimate(scene.ego_history_xyz, scene.ego_history_rot) for scene in scenes]
    baselines = {}
    for name, drive in BASELINES.items():
        driven: list[Driven] = [drive(motion) for motion in motions]
        pairs = [(it.pred_xyz, scene.ego_future_xyz) for it, scene in zip(driven, scenes, strict=True)]
        scored = [scores.accuracy(*pair) for pair in pairs]
        baselines[name] = {
            "overall": scores.mean(scored),
            "by_situation": scores.mean_by_situation(scored, situations),
            "min_ade_m_by_horizon": scores.mean([scores.by_horizon(*pair) for pair in pairs]),
            "comfort": scores.comfort_of((it.pred_xyz, it.action) for it in driven),
        }
    by_driver = ((scene.ego_future_xyz[None, None, None], scene.action[None, None, None]) for scene in scenes)
    return {"baselines": baselines, "driver": {"comfort": scores.comfort_of(by_driver)}}


def score_probes(answers: Answers, cases: list[Case]) -> dict[str, scores.Scores]:
    """Does it look, and does it do what it thinks?"""
    futures = [case.scene.ego_future_xyz for case in cases]
    own, swapped = (
        [min_ade(it.pred_xyz, future) for it, future in zip(given, futures, strict=True)]
        for given in (answers.own, answers.frames_swapped)
    )
    imagined = [
        imagined_future(case.moment, cases[partner].situation)
        for case, partner in zip(cases, partners(len(cases)), strict=True)
    ]
    return {
        "frames_swapped": scores.frames_swapped(own, swapped),
        "thought_given": scores.thought_given([it.pred_xyz for it in answers.thought_given], futures, imagined),
    }
