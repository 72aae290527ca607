"""Which part of the generated text is the thought: from the last start before the first end, up to that end."""

import pytest

START, END, STOP = "<|cot_start|>", "<|cot_end|>", "<|traj_future_start|>"


@pytest.mark.parametrize(
    ("generated", "thought"),
    [
        (f"Slow down.{END}{STOP}", "Slow down."),
        (f" \n Slow  down. {END}{STOP}", "Slow  down."),
        (f"{END}{STOP}", ""),
        ("Slow down.", ""),
        (f"Slow down.{STOP}", ""),
        ("", ""),
        (f"one{START}two{END}{STOP}", "two"),
        (f"one{START}two{START}three{END}{STOP}", "three"),
        (f"one{END}two{END}{STOP}", "one"),
        (f"one{END}{START}two{END}{STOP}", "one"),
        (f"one{START}two{END}three{START}four{END}{STOP}", "two"),
        (f"a<|im_end|>b{END}{STOP}", "a<|im_end|>b"),
        (f"a{STOP}b{END}", f"a{STOP}b"),
    ],
)
def test_extraction(reasoner, generated, thought):
    tokens = reasoner.tokenizer._encode(generated)
    assert reasoner.tokenizer.chain_of_causation(tokens) == thought
