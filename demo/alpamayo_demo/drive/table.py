"""The README's table of a drive."""

from typing import Any

from alpamayo_demo.measured_on import provenance
from alpamayo_demo.report import markdown

_HEADER = [
    "route",
    "driven, m",
    "scripted driver, m",
    "off the lane's middle, m: mean (most)",
    "most acceleration, lateral, m/s2",
    "faults",
]


def table(result: dict[str, Any]) -> str:
    """A row per route; `result`: what `python -m alpamayo_demo.drive --output` wrote."""
    rows = [
        [
            str(it["seed"]),
            f"{it['driven_m']:.0f}",
            f"{it['scripted_driver_m']:.0f}",
            f"{it['mean_off_middle_m']:.2f} ({it['max_off_middle_m']:.2f})",
            f"{it['max_acceleration_mps2']:.1f}, {it['max_lateral_acceleration_mps2']:.1f}",
            ", ".join(it["faults"]) or "none",
        ]
        for it in result["routes"]
    ]
    return "\n\n".join([markdown([_HEADER, *rows]), f"{summary(result)}.", provenance(result)])


def summary(result: dict[str, Any]) -> str:
    """Of all routes."""
    routes = result["routes"]
    faultless = sum(not it["faults"] for it in routes)
    # Who runs a light comes further than the driver: that makes up for nothing.
    driven = [(min(it["driven_m"], it["scripted_driver_m"]), it["scripted_driver_m"]) for it in routes]
    share = sum(it for it, _ in driven) / sum(most for _, most in driven)
    least = min(it / most for it, most in driven)
    return (
        f"{faultless} of {len(routes)} routes without fault in {result['settings']['seconds']:g} s; "
        f"{share:.0%} of the scripted driver's distance (least: {least:.0%})"
    )
