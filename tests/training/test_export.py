"""A checkpoint as a model folder: the weights that the run would have exported, without going on with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_loop import SMALL, Recorder, run

from sgpo.config import RunConfig, dump_config, load_config
from sgpo.rollouts.model_folder import load_model
from sgpo.training.checkpoints.checkpoint import CheckpointError
from sgpo.training.export import export_checkpoint, forecast_export

pytestmark = pytest.mark.slow


def trained(folder: Path, config: RunConfig, model: Path, data: Path) -> dict[str, torch.Tensor]:
    weights = run(folder, config, model, data, Recorder())
    (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    return weights


def of_folder(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(folder)[0].named_parameters())


def test_a_checkpoint_is_exported_with_the_weights_of_its_step(tmp_path, model_folder, data_folder):
    config = load_config(None, [*SMALL, "training.checkpoint_every=1", "training.keep_checkpoints=9"])
    last = trained(tmp_path / "run", config, model_folder, data_folder)
    earlier = trained(tmp_path / "two", load_config(None, [*SMALL, "training.steps=2"]), model_folder, data_folder)
    for step, expected in ((None, last), (2, earlier)):
        output = export_checkpoint(tmp_path / "run", model_folder, tmp_path / f"step {step}", step)
        found = of_folder(output)
        assert all(torch.equal(value, expected[f"model.{name}"]) for name, value in found.items())
    foretold = forecast_export(tmp_path / "run", model_folder, tmp_path / "new", 2)
    written = sum(value.numel() * value.element_size() for value in of_folder(tmp_path / "step 2").values())
    assert foretold.bytes == written
    assert "checkpoints/step-000002" in foretold.sentences[0]
    assert not (tmp_path / "new").exists()
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        forecast_export(tmp_path / "nowhere", model_folder, tmp_path / "new")
    assert not torch.equal(last["model.model.norm.weight"], earlier["model.model.norm.weight"])
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 99 \(expected one of: 1, 2, "):
        export_checkpoint(tmp_path / "run", model_folder, tmp_path / "none", 99)
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        export_checkpoint(tmp_path / "nowhere", model_folder, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_adapters_are_merged_into_the_model_that_they_were_trained_on_and_no_other(tmp_path, model_folder, data_folder):
    config = load_config(None, [*SMALL, "training.lora={rank: 4}"])
    trained(tmp_path / "run", config, model_folder, data_folder)
    start = of_folder(model_folder)
    found = of_folder(export_checkpoint(tmp_path / "run", model_folder, tmp_path / "out"))
    changed = {name for name, value in found.items() if not torch.equal(value, start[name])}
    assert changed
    assert all("_proj." in name for name in changed)
    # The same shape, other weights.
    with pytest.raises(CheckpointError, match="adapters of another base model"):
        export_checkpoint(tmp_path / "run", tmp_path / "out", tmp_path / "none")
