"""What one process writes down, another one sees."""

import subprocess
import sys
from pathlib import Path

import pytest
from alpamayo_model_repository.cancellations import CANCELLED_FILE, Cancellations, cancelled_file

KEPT = 256


@pytest.fixture
def file(monkeypatch):
    with cancelled_file() as name:
        monkeypatch.setenv(CANCELLED_FILE, name)
        yield Path(name)


def test_the_last_ones_are_held_and_nothing_else(file):
    writer, reader = Cancellations(), Cancellations()
    for i in range(KEPT + 10):
        assert writer.add(f"call {i}")
    assert [reader.holds(f"call {i}") for i in (0, 9, 10, KEPT + 9, KEPT + 10)] == [False, False, True, True, False]
    assert not reader.holds("")
    assert file.stat().st_size == 32 * KEPT


def test_text_of_any_length_and_kind(file):
    writer, reader = Cancellations(), Cancellations()
    for text in ("x" * 1_000_000, "Schluß jetzt", "/etc/passwd", "\0"):
        assert not reader.holds(text)
        writer.add(text)
        assert reader.holds(text)


def test_another_process_sees_them(file):
    ask = f"from {Cancellations.__module__} import Cancellations; print(Cancellations().holds('a call'))"
    said = [subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout]
    Cancellations().add("a call")
    said += [subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout]
    assert said == ["False\n", "True\n"]


def test_nothing_is_left_behind():
    with cancelled_file() as name:
        assert Path(name).stat().st_nlink == 0  # in no folder
    assert not Path(name).exists()


def test_without_a_launcher_there_are_none(monkeypatch):
    monkeypatch.delenv(CANCELLED_FILE, raising=False)
    cancellations = Cancellations()
    assert not cancellations.add("a call")
    assert not cancellations.holds("a call")
