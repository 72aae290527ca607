"""A page of an evaluation's worst cases: one HTML file with everything in it, and no script."""

import base64
import io
import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from ..errors import AlpamayoError
from ..plot import save_picture  # first: it names the extra

# isort: split
from ..panels import color_of
from ..text import printable
from .results import read_failed, read_settings, read_worst
from .rows import case_title, load_answered, to_prediction
from .source import SceneKey, Source
from .summary import count_lines, statistics_table, statistics_titles, summarize

# The policy lets a browser load nothing, whatever a model may have written.
HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Alpamayo: evaluation</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2330; max-width: 1500px; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .15rem .8rem; border-bottom: 1px solid #e5e7eb; text-align: right }
td:first-child, th:first-child, .words td, .words th { text-align: left; font-weight: normal }
section { margin-top: 2.5rem; border-top: 2px solid #1c2330 }
img { width: 100%; border: 1px solid #e5e7eb }
pre { background: #f3f4f6; padding: .8rem; overflow-x: auto }
.bad { color: #b91c1c }
</style>
</head>
<body>
"""


def write_page(path: Path, results: Path, source: Source, worst: int) -> None:
    """The summary, the `worst` cases with pictures, and what failed.

    Worst is the largest minADE over 6.4 s; after all of those, where the future is not known, the largest lateral
    acceleration. A scene that cannot be read again is shown without a picture.
    """
    with open(path, "w", encoding="utf-8") as page:
        page.write(HEAD)
        for part in _parts(results, source, worst):
            page.write(part + "\n")
        page.write("</body>\n</html>\n")


def _parts(results: Path, source: Source, worst: int) -> Iterator[str]:
    summary, settings = summarize(results), json.dumps(read_settings(results), indent=2)
    yield "<h1>Evaluation</h1>"
    yield from (f"<p>{escape(line)}</p>" for line in count_lines(summary))
    yield _table(["", *statistics_titles()], [[name, *cells] for name, cells in statistics_table(summary)])
    yield f"<details><summary>Settings</summary><pre>{escape(settings)}</pre></details>"
    yield "<h2>Worst cases</h2>"
    for place, row in enumerate(read_worst(results, worst), start=1):
        yield from _case(place, row, source)
    yield from _failures(results)


def _case(place: int, row: dict[str, Any], source: Source) -> Iterator[str]:
    key, prediction = SceneKey(row["scene_id"], row["t0_us"]), to_prediction(row)
    yield f"<section><h3>{escape(case_title(place, row))}</h3>"
    try:
        file = io.BytesIO()
        save_picture(file, load_answered(row, source), prediction, with_thoughts=False)  # they are below, whole
        data = base64.b64encode(file.getvalue()).decode()
        yield f'<img src="data:image/png;base64,{data}" alt="Cameras and trajectories of {_text(str(key))}">'
    except (AlpamayoError, OSError) as problem:
        yield f'<p class="bad">No picture, the scene cannot be read again: {_text(str(problem))}</p>'
    thoughts = zip(prediction.cot[0, 0], prediction.reasoning_complete[0, 0], strict=True)
    items = (
        f'<li><span style="color: {color_of(sample)}">&#9632;</span> {_text(thought) or "(empty)"}'
        f"{'' if complete else ' <em>(cut off)</em>'}</li>"
        for sample, (thought, complete) in enumerate(thoughts)
    )
    yield f'<ol start="0">{"".join(items)}</ol></section>'


def _failures(results: Path) -> Iterator[str]:
    failed = [[str(SceneKey(row["scene_id"], row["t0_us"])), row["error"]] for row in read_failed(results)]
    if failed:
        table = _table(["scene", "why"], failed)
        yield f'<section><h2>Failed</h2><div class="words">{table}</div></section>'


def _table(titles: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{_text(title)}</th>" for title in titles)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(text: str) -> str:
    """Whatever it holds, it is only read."""
    return escape(printable(text))
