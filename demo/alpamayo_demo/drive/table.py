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
    faultless = sum(not it["faults"] for it in result["routes"])
    said = f"{faultless} of {len(result['routes'])} routes without fault in {result['settings']['seconds']:.0f} s."
    return "\n".join([*rows, "", said, "", provenance(result)])
