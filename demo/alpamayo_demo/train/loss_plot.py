"""A picture of how training went."""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from alpamayo_demo.errors import DemoError

SMOOTH_STEPS = 50


def plot_losses(log: Path, picture: Path, practice_from: int) -> None:
    """`log`: a JSON object a line, {"step": ..., and every loss}; `picture`: a .png to write; `practice_from`: the step
    that practice begins with. Raises DemoError.
    """
    try:
        lines = [dict(json.loads(line)) for line in log.read_text().splitlines()]
    except (ValueError, TypeError) as error:
        raise DemoError(f"{log}: damaged ({error}); remove the state beside it to train anew") from error
    if not lines:
        raise DemoError(f"{log}: no losses in it; remove the state beside it to train anew")
    last = {line["step"]: line for line in lines}  # steps after the last save are done again when training goes on
    steps = sorted(last)
    names = [name for name in lines[-1] if name != "step"]
    figure = Figure((10, 3.6), dpi=100, layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names)), names, strict=True):
        values = np.array([last[step][name] for step in steps])
        axes.plot(steps, values, color="#c7d2e5", linewidth=0.6)
        window = min(SMOOTH_STEPS, len(values))
        mean = np.convolve(values, np.ones(window) / window, mode="valid")
        axes.plot(steps[window - 1 :], mean, color="#1f4e9c", linewidth=1.6, label=f"mean of {window} steps")
        if steps[-1] > practice_from:
            axes.axvline(practice_from, color="#b45309", linestyle=":", label="practice begins")
        axes.set(title=f"{name} loss", xlabel="step", yscale="log")
        axes.grid(color="#e5e7eb")
        axes.legend(frameon=False)
    figure.savefig(picture)
