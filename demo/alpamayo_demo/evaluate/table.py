"""The result as markdown."""

from math import ceil, floor
from typing import Any

from alpamayo_demo.measured_on import provenance
from alpamayo_demo.report import markdown
from alpamayo_demo.road.situations import Situation

from .scores import OBEYED_APART_M, Scores

_COMFORT = {  # with the digits that tell
    "max_acceleration_mps2": ("acceleration, m/s2", 2),
    "max_curvature_per_m": ("curvature, 1/m", 3),
    "max_jerk_mps3": ("jerk, m/s3", 1),
    "max_lateral_acceleration_mps2": ("lateral acceleration, m/s2", 2),
    "min_speed_mps": ("smallest speed, m/s", 2),
}


def table(result: dict[str, Any]) -> str:
    """By situation and overall; by horizon; comfort; the two probes; and what it was measured on."""
    parts = (_accuracy(result), _horizons(result), _comfort(result), _probes(result), _source(result))
    return "\n\n".join(parts)


def _accuracy(result: dict[str, Any]) -> str:
    model, k = result["model"], result["settings"]["samples"]
    header = ["", "minADE@1, m", f"minADE@{k}, m", "ADE of mean, m", f"minFDE@{k}, m", f"miss rate@{k}"]
    header += ["right thought", "thought complete"]
    header += [f"{name}: ADE (FDE), m" for name in result["baselines"]]
    blind = result["baselines"].values()
    rows = [
        [f"*{Situation[name].value}*", *accuracy_cells(scores), *(_ends(it["by_situation"][name]) for it in blind)]
        for name, scores in model["by_situation"].items()
    ]
    overall = ["**all situations**", *accuracy_cells(model["overall"]), *(_ends(it["overall"]) for it in blind)]
    return markdown([header, *rows, overall])


def _ends(scores: Scores) -> str:
    """Of who has one trajectory."""
    return f"{scores['min_ade_m']:.2f} ({scores['min_fde_m']:.2f})"


def accuracy_cells(scores: Scores) -> list[str]:
    """Of a row: metres, then shares; a dash for the thoughts of who has none."""
    metres = [f"{scores[name]:.2f}" for name in ("min_ade_1_m", "min_ade_m", "ade_of_mean_m", "min_fde_m")]
    shares = [percent(scores.get(name)) for name in ("right_situation", "reasoning_complete")]
    return [*metres, fault_percent(scores["missed"]), *shares]


def percent(share: float | None) -> str:
    """Rounded down: 100 % are all of them."""
    return "-" if share is None else f"{floor(100 * share + 1e-9)} %"


def fault_percent(share: float) -> str:
    """Rounded up: 0 % are none."""
    return f"{ceil(100 * share - 1e-9)} %"


def _horizons(result: dict[str, Any]) -> str:
    horizons = result["model"]["min_ade_m_by_horizon"]
    rows = {"model": result["model"]} | result["baselines"]
    cells = ([name, *(f"{it['min_ade_m_by_horizon'][at]:.2f}" for at in horizons)] for name, it in rows.items())
    return markdown([[f"minADE@{result['settings']['samples']}, m, by horizon", *horizons], *cells])


def _comfort(result: dict[str, Any]) -> str:
    rows = {"model": result["model"], "driver": result["driver"]} | result["baselines"]
    cells = (
        [
            name,
            *(_mean_and_worst(it["comfort"], extreme, digits) for extreme, (_, digits) in _COMFORT.items()),
            fault_percent(it["comfort"]["mean"]["goes_backwards"]),
        ]
        for name, it in rows.items()
    )
    labels = [label for label, _ in _COMFORT.values()]
    return markdown([["extremes of a trajectory: mean (worst)", *labels, "goes backwards"], *cells])


def _mean_and_worst(comfort: dict[str, Scores], extreme: str, digits: int) -> str:
    mean, worst = (round(comfort[of][extreme], digits) + 0.0 for of in ("mean", "worst"))  # + 0.0: no -0.00
    return f"{mean:.{digits}f} ({worst:.{digits}f})"


def _probes(result: dict[str, Any]) -> str:
    frames, thought = result["probes"]["frames_swapped"], result["probes"]["thought_given"]
    k = result["settings"]["samples"]
    return (
        f"With another scene's frames, minADE@{k} is {frames['swapped_min_ade_m']:.2f} m: {frames['ratio']:.1f} times "
        f"its own {frames['own_min_ade_m']:.2f} m.\n"
        f"With another situation's thought, {percent(thought['obeyed'])} drive nearer to where that thought leads than "
        f"to the scene's own future\n"
        f"({thought['counted']} scenes where the two are more than {OBEYED_APART_M:.0f} m apart; "
        f"the mean of the samples is {thought['to_given_m']:.2f} m from the one, "
        f"{thought['to_own_m']:.2f} m from the other)."
    )


def _source(result: dict[str, Any]) -> str:
    settings = result["settings"]
    return f"{settings['scenes']} {settings['split']} scenes, seeds from {settings['first_seed']}; {provenance(result)}"
