"""Bad input to `python -m alpamayo_demo.train` is refused before anything is rendered."""

import pytest
from alpamayo_demo.train.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--steps", "0"], "--steps: got 0, wanted at least 1"),
        (["--batch", "0"], "--batch: got 0, wanted at least 1"),
        (["--workers", "-1"], "--workers: got -1, wanted at least 1"),
        (["--scenes", "31"], "got 31, wanted at least 32"),
        (["--seed", "-1"], "--seed: got -1, wanted at least 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(arguments, says, tmp_path, capsys):
    folders = ["--output", str(tmp_path / "checkpoint"), "--work", str(tmp_path / "work")]
    assert main([*folders, *arguments]) == 1
    assert says in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_what_is_no_number_is_wrong_usage(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--steps", "many"])
    assert "invalid int value: 'many'" in capsys.readouterr().err
