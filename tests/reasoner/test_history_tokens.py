"""The ego history as tokens: each displacement between poses in one of 1000 bins an axis."""

import pytest
import torch
from reasoner.prompt import history_tokens

FIRST = 414 + 3000  # the history's bins follow the future's


def bins(xyz, settings) -> list[list[int]]:
    return (history_tokens(torch.tensor(xyz), settings) - FIRST).reshape(-1, 3).tolist()


def path(*displacements):
    """16 positions: these displacements, the first from zero, then standing still."""
    steps = torch.zeros(16, 3)
    steps[: len(displacements)] = torch.tensor(displacements)
    return steps.cumsum(0).tolist()


@pytest.mark.parametrize(
    ("displacement", "wanted"),
    [
        ([0.0, 0.0, 0.0], [500, 500, 500]),  # 499.5, to even
        ([-4.0, -4.0, -10.0], [0, 0, 0]),
        ([4.0, 4.0, 10.0], [999, 999, 999]),
        ([-5.0, 9.0, 99.0], [0, 999, 999]),
        ([1.0, -1.0, 1.0], [624, 375, 549]),  # 624.375, 374.625, 549.45
    ],
)
def test_bin_of_a_displacement(settings, displacement, wanted):
    assert bins(path(displacement), settings)[0] == wanted


def test_displacements_are_between_poses_and_the_first_from_zero(settings):
    found = bins(path([-3.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 1.0, 0.0]), settings)
    assert found[:3] == [[125, 500, 500], [749, 500, 500], [500, 624, 500]]
    assert found[3:] == [[500, 500, 500]] * 13


def test_prompt_has_a_token_for_every_cell_of_every_image_and_the_history_in_its_place(reasoner, settings):
    xyz = torch.tensor(path([1.0, -1.0, 1.0]))
    prompt = reasoner.tokenizer.prompt(torch.tensor([[1, 4, 6], [1, 2, 2]]), xyz)[0].tolist()
    pad, start, end = (reasoner.tokenizer._encode(f"<|{x}|>")[0] for x in ("image_pad", "vision_start", "vision_end"))
    first = prompt.index(start)
    assert prompt[first : first + 11] == [start, *[pad] * 6, end, start, pad, end]
    history_start = prompt.index(4419)
    assert prompt[history_start + 1 : history_start + 49] == history_tokens(xyz, settings).tolist()
    assert prompt[history_start + 49] == 4421
    assert prompt[-1] == reasoner.tokenizer._encode("<|cot_start|>")[0]
