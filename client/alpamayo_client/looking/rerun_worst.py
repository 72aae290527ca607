"""The worst cases of an evaluation in a recording of Rerun. Needs the extra `evaluate` too."""

from dataclasses import replace
from pathlib import Path

import rerun as rr

from ..errors import AlpamayoError
from ..evaluation.results import read_worst
from ..evaluation.rows import case_title, load_answered, to_prediction
from ..evaluation.source import Source
from .rerun_log import log_scene, save_recording, set_time

BETWEEN_CASES_US = 10_000_000  # half of it is for a case's older frames


def save_worst(path: Path, results: Path, source: Source, worst: int) -> None:
    """The `worst` cases, as on the page, as an `.rrd`, the worst first: their t0 are at 10 s, 20 s, and so on.

    All are in their ego frames: they share no world. Of a scene that cannot be read again there is only the reason, as
    the text `case`, which names all of them. Raises OSError.
    """
    with save_recording(path) as recording:
        for place, row in enumerate(read_worst(results, worst), start=1):
            t0_us = place * BETWEEN_CASES_US
            set_time(recording, t0_us - BETWEEN_CASES_US // 2)
            recording.log("/", rr.Clear(recursive=True))  # the case before
            title = case_title(place, row)
            try:
                scene = load_answered(row, source)
                log_scene(recording, replace(scene, ego_to_world=None), to_prediction(row), t0_us)
            except (AlpamayoError, OSError) as problem:
                title += f"\nThe scene cannot be read again: {problem}"
            set_time(recording, t0_us)
            recording.log("case", rr.TextDocument(title))
