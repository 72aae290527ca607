"""The notebook, run as Jupyter runs it, against a server whose answers are noise."""

import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def outputs(notebook) -> list[str]:
    """What the code cells leave: text, or the types of what is shown."""
    left = (output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs)
    return [output.text if output.output_type == "stream" else " ".join(sorted(output.data)) for output in left]


def test_it_runs_from_the_first_cell_to_the_last(server, monkeypatch):
    monkeypatch.setenv("ALPAMAYO_URL", server.grpc)
    committed = nbformat.read(EXAMPLES / "inference.ipynb", as_version=4)
    shown = outputs(committed)
    for cell in committed.cells:
        cell.pop("outputs", None)
    ran = NotebookClient(
        committed, timeout=120, kernel_name="python3", resources={"metadata": {"path": EXAMPLES}}
    ).execute()
    cameras, shape, thoughts, trajectories, errors = outputs(ran)
    assert cameras == trajectories == "image/png text/plain"
    assert shape == "text/plain"
    assert len(thoughts.splitlines()) >= 6
    assert re.match(r"minADE@6 over 6\.4 s: \d+\.\d\d m\n  up to 0\.5 s: ", errors)
    assert "closed" in shown[2]  # what is committed is the demo model's
    assert "closed" not in thoughts
    assert len(shown) == 5
