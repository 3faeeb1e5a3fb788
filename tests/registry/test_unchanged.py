"""A challenger whose weights are its champion's is refused, whatever precision or files they are written in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sgpo.registry.unchanged import NothingLearntError, refuse_unchanged

WEIGHTS = {"model.embed_tokens.weight": torch.arange(12.0).reshape(4, 3), "model.norm.weight": torch.ones(3)}


def write(folder: Path, weights: dict[str, torch.Tensor], file: str = "model.safetensors") -> Path:
    folder.mkdir(exist_ok=True)
    save_file({name: tensor.clone() for name, tensor in weights.items()}, folder / file)
    return folder


def test_the_same_weights_are_refused_in_another_precision_and_in_other_files(tmp_path: Path) -> None:
    champion = write(tmp_path / "champion", {name: tensor.bfloat16() for name, tensor in WEIGHTS.items()})
    whole = write(tmp_path / "whole", WEIGHTS)
    pieces = tmp_path / "pieces"
    for number, (name, tensor) in enumerate(WEIGHTS.items()):
        write(pieces, {name: tensor}, f"model-{number}.safetensors")
    tied = write(tmp_path / "tied", {**WEIGHTS, "lm_head.weight": WEIGHTS["model.embed_tokens.weight"]})
    for model in (whole, pieces, tied):
        with pytest.raises(
            NothingLearntError, match="version 3 of x, which it began from: training has changed nothing"
        ):
            refuse_unchanged(model, champion, "version 3 of x")


@pytest.mark.parametrize("change", ["a value", "a tensor more", "a shape"])
def test_other_weights_are_another_model(change: str, tmp_path: Path) -> None:
    champion = write(tmp_path / "champion", WEIGHTS)
    changed = dict(WEIGHTS)
    if change == "a value":
        changed["model.norm.weight"] = torch.tensor([1.0, 1.0, 1.0 + 1e-6])
    elif change == "a shape":
        changed["model.norm.weight"] = torch.ones(4)
    else:
        changed["model.more.weight"] = torch.ones(1)
    refuse_unchanged(write(tmp_path / "model", changed), champion, "version 3 of x")
