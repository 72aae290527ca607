"""Which scenes are judged, and who lends whom frames and thoughts."""

import numpy as np
import pytest
from alpamayo_demo.errors import DemoError
from alpamayo_demo.evaluate.cases import SITUATIONS, make_cases, partners
from alpamayo_demo.road.scenes import Split, scene

COUNT = len(SITUATIONS)


@pytest.mark.parametrize("per_situation", [1, 2, 12, 40])
def test_partners_are_a_permutation_to_other_situations_of_the_same_seed(per_situation):
    found = partners(per_situation * COUNT)
    assert sorted(found) == list(range(per_situation * COUNT))
    for index, partner in enumerate(found):
        assert partner // COUNT == index // COUNT
        assert partner % COUNT != index % COUNT


def test_a_situation_meets_every_other_one():
    found = partners((COUNT - 1) * COUNT)
    for situation in range(COUNT):
        met = {found[seed * COUNT + situation] % COUNT for seed in range(COUNT - 1)}
        assert met == set(range(COUNT)) - {situation}


def test_more_scenes_leave_the_earlier_ones_as_they_are():
    assert partners(3 * COUNT)[:COUNT] == partners(COUNT)


def test_cases_are_the_split_s_scenes_every_situation_in_turn():
    cases = make_cases(Split.HARD, 2)
    assert [case.situation for case in cases] == [*SITUATIONS, *SITUATIONS]
    for index in (3, COUNT + 5):
        again = scene(Split.HARD, index // COUNT, SITUATIONS[index % COUNT])
        np.testing.assert_array_equal(cases[index].scene.image_frames, again.image_frames)
        np.testing.assert_array_equal(cases[index].scene.ego_future_xyz, again.ego_future_xyz)
        assert cases[index].moment.situation is cases[index].situation


def test_other_seeds_are_other_cases():
    (case, *_) = make_cases(Split.HELD_OUT, 1, first_seed=5)
    again = scene(Split.HELD_OUT, 5, SITUATIONS[0])
    np.testing.assert_array_equal(case.scene.image_frames, again.image_frames)


def test_no_scenes():
    with pytest.raises(DemoError, match="got 0, wanted at least 1"):
        make_cases(Split.HELD_OUT, 0)
    with pytest.raises(DemoError, match="--first-seed: got -1, wanted at least 0"):
        make_cases(Split.HELD_OUT, 1, -1)
