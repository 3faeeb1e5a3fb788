"""The base models of the package: what they were packed from, taken only where settings and world are theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sgpo.config.pipeline import PipelineParams, load_params
from sgpo.config.testbed import BaseModelConfig
from sgpo.pipeline import stages
from sgpo.rollouts.model_folder import load_model
from sgpo.testbed import bases

pytestmark = pytest.mark.slow

SHIPPED = sorted(path.parent for path in bases.SHIPPED.glob("*/base.json"))
TINY = {"steps": 2, "hidden_size": 32, "layers": 1, "batch_size": 2}


def params(decisions: int = 4, **settings: object) -> PipelineParams:
    return PipelineParams.model_validate({"world": {"decisions": decisions}, "base_model": {**TINY, **settings}})


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that ships one tiny model, and data/base as its pre-training left it."""
    shipped = tmp_path / "package"
    stages.build_base(params(), tmp_path / "data", tmp_path / "work", build=True, packed=shipped / "qwen2-4")
    monkeypatch.setattr(bases, "SHIPPED", shipped)
    return tmp_path


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(folder)[0].state_dict()


def test_a_packed_model_is_the_built_one_in_float16_and_is_taken_in_float32(packed, tmp_path, capsys):
    stages.build_base(params(), tmp_path / "taken", tmp_path / "work2")
    assert "from the package (qwen2, 4 decisions, seed 0, sha256 " in capsys.readouterr().out
    assert not (tmp_path / "work2").exists()
    built, taken = weights(packed / "data/base/qwen2"), weights(tmp_path / "taken/base/qwen2")
    assert built.keys() == taken.keys()
    for name, value in built.items():
        assert torch.equal(taken[name], value.half().float()), name
    kept = json.loads((tmp_path / "taken/base/qwen2/config.json").read_text())
    assert kept["dtype"] == "float32"
    assert json.loads((packed / "package/qwen2-4/config.json").read_text())["dtype"] == "float16"


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (params(seed=1), "base_model.seed is 1, and 0 for the shipped one"),
        (params(steps=3), "base_model.steps is 3, and 2 for the shipped one"),
        (params(3), "none is shipped for qwen2 and 3 decisions"),
        (params(family="llama"), "none is shipped for llama and 4 decisions"),
    ],
)
def test_other_settings_are_pre_trained_and_the_reason_is_said(packed, other, why):
    assert bases.find_shipped(other.base_model, other.world.decisions) == (None, why)


def test_a_world_that_has_changed_since_is_another_one(packed, monkeypatch):
    monkeypatch.setattr("sgpo.testbed.traces.LINKS", ("",))
    found, why = bases.find_shipped(params().base_model, 4)
    assert (found, why) == (None, "the world's wording or drawing is not that of the shipped one")


def test_other_weights_than_those_packed_are_refused_in_one_line(packed):
    path = packed / "package/qwen2-4/model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(
        bases.ShippedBaseError, match=r"model\.safetensors: sha256 is [0-9a-f]{16}… \(expected"
    ) as error:
        bases.find_shipped(params().base_model, 4)
    assert "\n" not in str(error.value)


def test_a_broken_record_is_refused_by_key(packed):
    path = packed / "package/qwen2-4/base.json"
    path.write_text(path.read_text().replace('"decisions": 4', '"decisions": "four"'))
    with pytest.raises(bases.ShippedBaseError, match=r"base\.json: 'decisions': .*install"):
        bases.find_shipped(params().base_model, 4)


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: folder.name)
def test_what_is_shipped_is_small_whole_and_of_the_world_as_it_is(folder):
    record = json.loads((folder / "base.json").read_text())
    config = BaseModelConfig.model_validate(record["base_model"])
    assert folder.name == f"{config.family}-{record['decisions']}"
    assert bases.find_shipped(config, record["decisions"])[0] == folder
    assert (folder / "model.safetensors").stat().st_size < 1_000_000
    model, tokenizer = load_model(folder)
    assert model.config.model_type == config.family
    assert model.dtype == torch.float32
    assert model.get_input_embeddings().get_parameter("weight").shape[0] == len(tokenizer)


def test_the_demo_takes_a_shipped_model():
    settings = load_params(Path(__file__).parents[2] / "params.yaml")
    folder, why = bases.find_shipped(settings.base_model, settings.world.decisions)
    assert folder is not None, why
