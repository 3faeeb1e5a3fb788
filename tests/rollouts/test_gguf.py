"""One GGUF file to a model folder: the same model, tokenizer and template; one line for what is none."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from sgpo.files import file_sha256
from sgpo.rollouts.chat import ChatFormatError
from sgpo.rollouts.gguf import CONVERSION, convert_gguf, forecast_conversion, is_converted
from sgpo.rollouts.model_folder import ModelFolderError, load_model, open_chat

pytestmark = pytest.mark.slow

pytest.importorskip("gguf", reason="the package gguf (extra gguf) writes the file that is converted")
from tiny_gguf import END, SPECIAL, write_tiny_gguf  # noqa: E402


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_tiny_gguf(tmp_path / "tiny.gguf")
    return tmp_path / "tiny.gguf"


def test_the_folder_holds_the_model_of_the_file(tmp_path: Path) -> None:
    written = write_tiny_gguf(tmp_path / "tiny.gguf")
    found = convert_gguf(tmp_path / "tiny.gguf", tmp_path / "model")
    model, tokenizer = load_model(tmp_path / "model")
    ids = torch.tensor([[5, 80, 44, 120, 9, 200, 3]])
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, written(ids).logits, atol=1e-5)
    assert found.parameters == sum(parameter.numel() for parameter in written.parameters())
    assert "quantization_config" not in json.loads((tmp_path / "model" / "config.json").read_text())
    text = "How many sheep are there at 7, and then?"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    chat = open_chat(tmp_path / "model", tokenizer)
    assert chat.end_ids == (END,)
    prompt = tokenizer.decode(chat.autonomous(text))
    assert prompt.endswith(f"{SPECIAL[1]}user\n{text}{SPECIAL[2]}\n{SPECIAL[1]}assistant\n")


def test_a_dry_run_reads_the_header_and_writes_nothing(file: Path, tmp_path: Path) -> None:
    foretold = forecast_conversion(file, tmp_path / "new" / "model")
    assert sorted(tmp_path.iterdir()) == [file]
    found = convert_gguf(file, tmp_path / "new" / "model")
    assert foretold.bytes == found.parameters * 4
    assert f"llama of {found.parameters:,} parameters" in foretold.sentences[0]
    assert "already" in forecast_conversion(file, tmp_path / "new" / "model").sentences[0]
    (tmp_path / "torn.gguf").write_bytes(file.read_bytes()[:3000])
    with pytest.raises(ModelFolderError, match="expected a whole GGUF file"):
        forecast_conversion(tmp_path / "torn.gguf", tmp_path / "model")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("dear")
    with pytest.raises(ModelFolderError, match="holds something else"):
        forecast_conversion(file, tmp_path / "mine")


def test_a_second_conversion_takes_what_is_there_and_mends_what_was_spoilt(file: Path, tmp_path: Path) -> None:
    convert_gguf(file, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    before, when = weights.read_bytes(), weights.stat().st_mtime_ns
    convert_gguf(file, tmp_path / "model")
    assert weights.stat().st_mtime_ns == when
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert not is_converted(tmp_path / "model", file_sha256(file))
    convert_gguf(file, tmp_path / "model")
    assert weights.read_bytes() == before


def test_the_files_of_the_folder_are_recorded_by_sha256(file: Path, tmp_path: Path) -> None:
    convert_gguf(file, tmp_path / "model", file_sha256(file).upper())
    record = json.loads((tmp_path / "model" / CONVERSION).read_text())
    assert record["sha256"] == file_sha256(file)
    names = {path.name for path in (tmp_path / "model").iterdir()} - {CONVERSION}
    assert names == set(record["files"])
    assert {"model.safetensors", "tokenizer.json", "chat_template.jinja", "generation_config.json"} <= names


def test_another_file_than_expected_is_refused_before_it_is_opened(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=rf"tiny\.gguf: sha256 is {file_sha256(file)} \(expected {'0' * 64}"):
        convert_gguf(file, tmp_path / "model", "0" * 64)
    assert not (tmp_path / "model").exists()


@pytest.fixture
def refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., str]]:
    """What is said of a file that cannot be converted: one line that begins with its name, and nothing beside it."""

    def convert(name: str, output: Path = tmp_path / "model", sha256: str | None = None) -> str:
        with pytest.raises((ModelFolderError, ChatFormatError)) as caught:
            convert_gguf(tmp_path / name, output, sha256)
        assert "\n" not in str(caught.value)
        assert str(tmp_path / name) in str(caught.value)
        assert not caplog.records  # such as transformers' own report of what it has loaded
        assert not any(path.name.endswith("model") or "aside" in path.name for path in tmp_path.iterdir())
        return str(caught.value)

    logging.getLogger("transformers").addHandler(caplog.handler)  # its records go no further than this logger
    yield convert
    logging.getLogger("transformers").removeHandler(caplog.handler)


def test_what_is_no_whole_gguf_file_is_one_line_and_leaves_nothing(file: Path, tmp_path: Path, refused) -> None:
    whole = file.read_bytes()
    assert "cannot be read (No such file" in refused("none.gguf")
    (tmp_path / "text.gguf").write_text("not a model")
    assert "begins with b'not ' (expected a GGUF file" in refused("text.gguf")
    for length in (6, 3000, len(whole) * 2 // 3):
        (tmp_path / "torn.gguf").write_bytes(whole[:length])
        assert "expected a whole GGUF file" in refused("torn.gguf")
    write_tiny_gguf(tmp_path / "other.gguf", architecture="an-unknown-one")
    assert "of an architecture that transformers reads" in refused("other.gguf")
    write_tiny_gguf(tmp_path / "mute.gguf", tokenizer=False)
    assert "cannot open its tokenizer" in refused("mute.gguf")
    assert "sha256 is to be '12ab' (expected 64 hexadecimal digits)" in refused(file.name, sha256="12ab")


def test_a_folder_that_cannot_be_made_is_one_line(file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("dear")
    with pytest.raises(ModelFolderError, match=r"file/model: cannot be made \(File exists; expected a folder"):
        convert_gguf(file, tmp_path / "file" / "model")


UP = "blk.0.ffn_up.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop(UP), "'model.layers.0.mlp.up_proj.weight' is not in the file and would be random"),
        (lambda tensors: tensors.update({UP: tensors[UP][:-1]}), "up_proj.weight' has another shape in the file"),
        (lambda tensors: tensors.update({UP: tensors[UP] * np.float32("nan")}), "values that are not finite"),
        # Both are passed over by transformers without a word: a bias of queries, and a layer more than there should be.
        (
            lambda tensors: tensors.update({"blk.0.attn_q.bias": np.ones(32, np.float32)}),
            "'blk.0.attn_q.bias' is in the file and nothing of LlamaForCausalLM",
        ),
        (
            lambda tensors: tensors.update({"blk.1.ffn_up.weight": tensors[UP]}),
            "'blk.1.ffn_up.weight' is in the file and nothing of LlamaForCausalLM",
        ),
    ],
)
def test_a_file_with_other_tensors_than_its_architecture_is_refused(
    tmp_path: Path, refused, change: Callable[[dict], object], message: str
) -> None:
    write_tiny_gguf(tmp_path / "tiny.gguf", change=change)
    assert message in refused("tiny.gguf")


def test_frequencies_that_a_model_computes_itself_are_no_tensor_too_many(tmp_path: Path) -> None:
    added = {"rope_freqs.weight": np.ones(4, np.float32)}
    write_tiny_gguf(tmp_path / "tiny.gguf", change=lambda tensors: tensors.update(added))
    assert convert_gguf(tmp_path / "tiny.gguf", tmp_path / "model").architecture == "LlamaForCausalLM"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "has no chat template"),
        ("{{ raise_exception('only in French') }}", "only in French"),
        ("{% for message in messages %}{{ message.content", "unexpected end of template"),
        ("{{ messages[0].turn.text }}", "has no attribute 'turn'"),
        ("{{ 1 / 0 }}", "division by zero"),
    ],
)
def test_a_template_that_fails_is_refused(tmp_path: Path, refused, template: str | None, message: str) -> None:
    write_tiny_gguf(tmp_path / "tiny.gguf", template=template)
    assert message in refused("tiny.gguf")


def test_a_folder_of_something_else_is_kept(file: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    convert_gguf(file, tmp_path / "data")
    other = tmp_path / "other" / "problems.parquet"
    other.parent.mkdir()
    other.write_text("dear", encoding="utf-8")
    with pytest.raises(ModelFolderError, match="holds something else"):
        convert_gguf(file, other.parent)
    assert other.read_text(encoding="utf-8") == "dear"
