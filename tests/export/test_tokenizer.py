"""The tokenizer is built as the checkpoint wants it, or refused."""

import pytest
from alpamayo_export.checkpoint import open_checkpoint
from alpamayo_export.errors import ExportError
from alpamayo_export.vlm import build_tokenizer, render_prompt
from checkpoint_copy import put


def tokenizer_refusal(copy) -> str:
    opened = open_checkpoint(str(copy.folder))
    with pytest.raises(ExportError) as refused:
        build_tokenizer(opened.vlm_folder, opened.config)
    return str(refused.value)


def test_a_tokenizer_with_other_ids(copy):
    message = tokenizer_refusal(copy.edit_config(put(415, "traj_token_start_idx")))
    assert "is not this checkpoint's: <i0> is 414, wanted 415" in message


def test_every_token_that_does_not_fit_is_listed(copy):
    copy.edit_config(put(4400, "traj_token_ids", "history")).edit_config(put(1, "traj_token_ids", "future_start"))
    message = tokenizer_refusal(copy)
    assert "<|traj_history|> is 4429, wanted 4400" in message
    assert "<|traj_future_start|> is 4426, wanted 1" in message


def test_a_tokenizer_larger_than_the_vocabulary(copy):
    # The weights are cut with it, so that only the tokenizer does not fit.
    def cut(tensors):
        for name in ("vlm.lm_head.weight", "vlm.model.language_model.embed_tokens.weight"):
            tensors[name] = tensors[name][:4441].clone()

    message = tokenizer_refusal(copy.edit_config(put(4441, "vocab_size")).edit_weights(cut))
    assert "it has 4442 tokens, the checkpoint's vocab_size is 4441" in message


def test_a_folder_without_a_tokenizer(copy):
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt"):
        (copy.vlm / name).unlink()
    assert str(copy.vlm) in tokenizer_refusal(copy)


@pytest.mark.parametrize(
    "template",
    [
        "{% for message in messages %}{{ message['role'] }}{% endfor %}",
        "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}"
        "{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}",
        "",
    ],
)
def test_a_chat_template_that_does_not_show_the_images(copy, template):
    (copy.vlm / "chat_template.jinja").write_text(template)
    opened = open_checkpoint(str(copy.folder))
    tokenizer = build_tokenizer(opened.vlm_folder, opened.config)
    with pytest.raises(ExportError, match="chat template"):
        render_prompt(tokenizer)


@pytest.mark.parametrize("special", [True, False])
def test_special_tokens_are_added_all_or_the_six_of_trajectories(copy, special):
    names = ["history", "future", "history_start", "future_start", "history_end", "future_end"]

    def six_tokens(config):
        config["add_special_tokens"] = False
        config["traj_token_ids"] = {name: 4414 + i for i, name in enumerate(names)}

    if not special:
        copy.edit_config(six_tokens)
    opened = open_checkpoint(str(copy.folder))
    tokenizer = build_tokenizer(opened.vlm_folder, opened.config)
    assert len(tokenizer) == (4442 if special else 4420)
    assert tokenizer.convert_tokens_to_ids("<i3999>") == 4413
    assert ("<|cot_start|>" in tokenizer.get_vocab()) == special
