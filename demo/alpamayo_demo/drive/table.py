"""The README's table of a drive."""

from typing import Any

from alpamayo_demo.measured_on import provenance


def table(result: dict[str, Any]) -> str:
    """A row per route; `result`: what `python -m alpamayo_demo.drive --output` wrote."""
    rows = ["| route | driven, m | scripted driver, m | off the lane's middle, m: mean (most) | faults |"]
    rows.append("|---|---|---|---|---|")
    for it in result["routes"]:
        rows.append(
            f"| {it['seed']} | {it['driven_m']:.0f} | {it['scripted_driver_m']:.0f} "
            f"| {it['mean_off_middle_m']:.2f} ({it['max_off_middle_m']:.2f}) | {', '.join(it['faults']) or 'none'} |"
        )
    return "\n".join([*rows, "", f"{summary(result)}.", "", provenance(result)])


def summary(result: dict[str, Any]) -> str:
    """Of all routes."""
    routes = result["routes"]
    faultless = sum(not it["faults"] for it in routes)
    share = sum(it["driven_m"] for it in routes) / sum(it["scripted_driver_m"] for it in routes)
    return (
        f"{faultless} of {len(routes)} routes without fault in {result['settings']['seconds']:g} s; "
        f"{share:.0%} of the scripted driver's distance"
    )
