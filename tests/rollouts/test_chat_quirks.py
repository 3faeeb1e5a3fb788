"""One truth about how a turn begins and ends, whatever the template, the tokenizer and the generation config say."""

import datetime
import json
from pathlib import Path

import pytest

from sgpo.config import ChatConfig, ConfigError, SamplingConfig, load_config
from sgpo.config.chat import SYSTEM_PROMPT
from sgpo.problems import Problem, Verifier
from sgpo.rollouts.chat import ChatFormat
from sgpo.rollouts.engine import end_token_ids
from sgpo.rollouts.export import export_model
from sgpo.rollouts.groups import Sampler
from sgpo.rollouts.model_folder import load_model, open_chat
from sgpo.rollouts.schema import GroupSizes, Response
from tests.rollouts.quirky_models import (
    CHATML,
    DATED,
    GEMMA,
    LLAMA,
    NO_SYSTEM,
    QWEN,
    SWITCHED,
    THINKING,
    byte_tokenizer,
    model_folder,
    qwen_folder,
)


def test_a_response_ends_at_the_tokenizers_the_generation_configs_and_the_templates_end(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer(GEMMA, NO_SYSTEM.replace("<end_of_turn>", "<start_of_turn>"), "<eos>", "<bos>")
    folder = model_folder(tmp_path / "model", tokenizer)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 4]}), encoding="utf-8")
    chat = open_chat(folder, load_model(folder)[1])
    assert chat.end_ids == (1, 4, 3)
    assert chat.turn_end == 3


def test_a_base_models_turn_ends_with_the_templates_token_and_not_the_end_of_text(tmp_path: Path) -> None:
    chat = ChatFormat(byte_tokenizer(QWEN, CHATML, "<|endoftext|>"))
    assert chat.end_ids == (0, 2) == end_token_ids(chat.tokenizer)
    assert chat.response_ids("7")[-1] == 2


def test_the_export_says_what_ends_a_response(tmp_path: Path) -> None:
    model, tokenizer = load_model(model_folder(tmp_path / "in", byte_tokenizer(QWEN, CHATML, "<|endoftext|>")))
    export_model(model, tokenizer, model.state_dict(), tmp_path / "out", ChatFormat(tokenizer).end_ids)
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text())["eos_token_id"] == [0, 2]
    again, tokenizer = load_model(tmp_path / "out")
    assert again.generation_config.eos_token_id == [0, 2]
    assert open_chat(tmp_path / "out", tokenizer).end_ids == (0, 2)


def test_the_export_is_read_alike_by_older_transformers(tmp_path: Path) -> None:
    rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 500000.0}
    model, tokenizer = load_model(qwen_folder(tmp_path / "in", rope_parameters=rope))
    export_model(model, tokenizer, model.state_dict(), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 500000.0
    assert config["rope_scaling"] == {"rope_type": "linear", "factor": 2.0}
    settings = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert settings["model_input_names"] == ["input_ids", "attention_mask"]  # 4.57 would add token_type_ids
    assert settings["additional_special_tokens"] == ["<|im_start|>"]
    assert "extra_special_tokens" not in settings
    again, same = load_model(tmp_path / "out")
    assert again.config.rope_parameters == model.config.rope_parameters
    assert same.get_vocab() == tokenizer.get_vocab()
    assert same.all_special_ids == tokenizer.all_special_ids


def test_a_refused_system_role_goes_into_the_users_turn() -> None:
    chat = ChatFormat(byte_tokenizer(GEMMA, NO_SYSTEM, "<eos>", "<bos>"))
    text = chat.tokenizer.decode(chat.guided("What is 3+4?", "Count up."))
    assert text == (
        f"<bos><start_of_turn>user\n{SYSTEM_PROMPT}\n\nCount up.\n\nWhat is 3+4?<end_of_turn>\n<start_of_turn>model\n"
    )
    (note,) = chat.notes
    assert "no system role (System role not supported)" in note


def test_a_system_message_that_the_template_passes_over_goes_into_the_users_turn() -> None:
    chat = ChatFormat(
        byte_tokenizer(QWEN, CHATML.replace("in messages %}", "in messages if m['role'] != 'system' %}"), "<|im_end|>")
    )
    assert SYSTEM_PROMPT in chat.tokenizer.decode(chat.autonomous("What is 3+4?"))


def test_the_date_that_a_template_writes_is_the_recipes() -> None:
    tokenizer = byte_tokenizer(LLAMA, DATED, "<|im_end|>", "<|begin_of_text|>")
    chat = ChatFormat(tokenizer, ChatConfig(date=datetime.date(2025, 3, 9)))
    assert "Today Date: 09 Mar 2025<" in tokenizer.decode(chat.autonomous("What is 3+4?"))
    assert ChatFormat(tokenizer).autonomous("1") == ChatFormat(tokenizer).autonomous("1")


@pytest.mark.parametrize("template", [CHATML, "{{ bos_token }}" + CHATML, "{{ bos_token + bos_token }}" + CHATML])
def test_a_prompt_begins_with_the_beginning_at_most_once(template: str) -> None:
    tokenizer = byte_tokenizer(LLAMA, template, "<|im_end|>", "<|begin_of_text|>", adds_begin=True)
    assert ChatFormat(tokenizer).autonomous("What is 3+4?").count(0) == int("bos_token" in template)


def test_what_the_template_is_told_is_in_the_recipe() -> None:
    tokenizer = byte_tokenizer(QWEN, SWITCHED, "<|im_end|>")
    config = load_config(None, ["chat.chat_template_kwargs={enable_thinking: false}"])
    assert ChatFormat(tokenizer).thinking == ("<think>", "</think>")
    assert ChatFormat(tokenizer, config.chat).thinking is None
    with pytest.raises(ConfigError, match="'tokenize' is set by sgpo itself"):
        load_config(None, ["chat.chat_template_kwargs={tokenize: false}"])


def test_a_response_to_learn_from_closes_the_thinking_that_the_prompt_opened() -> None:
    chat = ChatFormat(byte_tokenizer(QWEN, THINKING, "<|im_end|>"))
    decode = chat.tokenizer.decode
    assert decode(chat.response_ids("It is \\boxed{7}.")) == "</think>\n\nIt is \\boxed{7}.<|im_end|>"
    assert decode(chat.response_ids("<think>\nhm</think>\n\\boxed{7}")) == "hm</think>\n\\boxed{7}<|im_end|>"
    plain = ChatFormat(byte_tokenizer(QWEN, CHATML, "<|im_end|>"))
    assert decode(plain.response_ids("It is \\boxed{7}.")) == "It is \\boxed{7}.<|im_end|>"


class Saying:
    """An engine that says one text whatever it is asked."""

    policy_step = 0

    def __init__(self, ids: tuple[int, ...]) -> None:
        self.ids = ids

    def generate(self, prompts, sampling, seeds):
        return [Response(self.ids, (0.0,) * len(self.ids), "stop", 0) for _ in prompts]


@pytest.mark.parametrize(
    ("template", "special", "said", "right"),
    [
        (CHATML, (), "It is \\boxed{7}.<|im_end|>", 1.0),
        (THINKING, (), "perhaps \\boxed{7}. Hmm<|im_end|>", 0.0),
        (THINKING, (), "perhaps \\boxed{8}.</think>\\boxed{7}<|im_end|>", 1.0),
        (CHATML, ("<think>", "</think>"), "<think>perhaps \\boxed{7}. No.</think>I do not know.<|im_end|>", 0.0),
        (CHATML, ("<think>", "</think>"), "<think>perhaps \\boxed{7}, or 8?<|im_end|>", 0.0),
        (CHATML, ("<|eot_id|>",), "\\boxed{7}<|eot_id|>And 2+2? \\boxed{4}<|im_end|>", 1.0),
    ],
)
def test_what_was_sampled_is_judged_with_its_thinking_and_its_end(template, special, said, right) -> None:
    tokenizer = byte_tokenizer((*QWEN, *special), template, "<|im_end|>")
    engine = Saying(tuple(tokenizer(said, add_special_tokens=False)["input_ids"]))
    with Verifier(workers=1) as verifier:
        sampler = Sampler(engine, ChatFormat(tokenizer), verifier, {}, 0)
        problem = Problem(question="What is 3+4?", answer="7")
        (sample,), _ = sampler.sample([problem], GroupSizes(1, 0), SamplingConfig(), 0)
    assert sample.autonomous[0].reward == right
