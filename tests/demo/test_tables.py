"""Markdown from results."""

import accuracy
from alpamayo_demo.evaluate.table import accuracy_cells, table
from alpamayo_demo.report import markdown

MACHINE = {"gpu": None, "cpu": "abacus", "cores": 2, "commit": "abc"}
METRES = {"min_ade_1_m": 1.234, "min_ade_m": 0.5, "ade_of_mean_m": 1.0, "min_fde_m": 2.0, "missed": 0.25}
THOUGHTS = {"right_situation": 0.995, "reasoning_complete": 1.0}
COMFORT = dict.fromkeys(
    ["max_acceleration_mps2", "max_curvature_per_m", "max_jerk_mps3", "max_lateral_acceleration_mps2"], 1.25
) | {"min_speed_mps": -0.0001, "goes_backwards": 0.25}
PART = {"overall": METRES, "min_ade_m_by_horizon": {"6.4 s": 0.5}, "comfort": {"mean": COMFORT, "worst": COMFORT}}


def test_markdown():
    assert markdown([["a", "b"], ["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |"


def test_cells():
    assert accuracy_cells(METRES | THOUGHTS) == ["1.23", "0.50", "1.00", "2.00", "25 %", "99 %", "100 %"]
    assert accuracy_cells(METRES)[-2:] == ["-", "-"]


def test_the_evaluation_s_table():
    scored = METRES | THOUGHTS
    printed = table(
        {
            "settings": {"samples": 3, "scenes": 34, "split": "hard", "first_seed": 7},
            "machine": MACHINE,
            "command": "command",
            "model": PART | {"overall": scored, "by_situation": {"RED_LIGHT": scored}},
            "baselines": {"blind": PART | {"by_situation": {"RED_LIGHT": METRES}}},
            "driver": PART,
            "probes": {
                "frames_swapped": {"own_min_ade_m": 0.5, "swapped_min_ade_m": 2.0, "ratio": 4.0},
                "thought_given": {"counted": 30, "obeyed": 0.9, "to_given_m": 1.0, "to_own_m": 3.0},
            },
        }
    )
    assert "| *Stop at the red light.* | 1.23 | 0.50 | 1.00 | 2.00 | 25 % | 99 % | 100 % | 0.50 (2.00) |" in printed
    assert "| **all situations** | 1.23 | 0.50 | 1.00 | 2.00 | 25 % | 99 % | 100 % | 0.50 (2.00) |" in printed
    assert "minADE@3" in printed
    assert "| driver | 1.25 (1.25) | 1.250 (1.250) | 1.2 (1.2) | 1.25 (1.25) | 0.00 (0.00) | 25 % |" in printed
    assert "minADE@3 is 2.00 m: 4.0 times its own 0.50 m." in printed
    assert printed.endswith("34 hard scenes, seeds from 7; abacus, 2 cores; commit abc; `command`")


def test_the_benchmark_s_table():
    row = METRES | THOUGHTS | {"max_jerk_mps3": 3.21, "seconds": 0.1234}
    printed = accuracy.table(
        {
            "settings": {
                "scenes": 17,
                "first_seed": 3,
                "usual": {"inference_steps": 10, "samples": 6, "temperature": 0.6, "thinks": True},
            },
            "machine": MACHINE,
            "command": "command",
            "rows": {"inference_steps": {"2": row}, "precision": {"fp32": row}},
            "not_run": {"fp32 against bf16": "no GPU"},
        }
    )
    assert "| Euler steps 2 | 1.23 | 0.50 | 1.00 | 2.00 | 25 % | 99 % | 100 % | 3.2 | 123 |" in printed
    assert "Euler steps 10, K 6, temperature 0.6, thinks True. 17 held-out scenes, seeds from 3." in printed
    assert "fp32 against bf16: not run: no GPU." in printed
