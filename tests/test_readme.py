"""The README keeps its word: its tables come from the committed results, its example runs, its links lead somewhere."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))
README = (ROOT / "README.md").read_text()


def test_tables_are_what_the_results_say():
    from readme import rendered

    assert "<!-- golden_cpu.json -->" in README
    assert rendered(README) == README, "run `make readme`"


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert named
    assert named <= targets


def test_files_it_names_exist():
    named = set(re.findall(r"\b((?:benchmarks|client|demo|deploy|export|model_repository|tests)/[\w./]+)", README))
    assert len(named) >= 5
    assert [name for name in named if not (ROOT / name).exists()] == []
