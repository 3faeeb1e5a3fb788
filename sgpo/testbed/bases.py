"""The base models that come with the package: the same weights on every machine, taken where settings and world agree.

`bases/<family>-<decisions>/` is a model folder in float16 with `base.json`: the command, the settings, what the world
was and the sha256 of the weights. Another processor rounds otherwise, and a pre-training there ends in other weights.
"""

import hashlib
import random
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from sgpo.config.base import Settings
from sgpo.config.testbed import BaseModelConfig
from sgpo.errors import UserError
from sgpo.files import file_sha256, first_difference, publish_folder, write_json
from sgpo.rollouts.model_folder import load_model
from sgpo.testbed.corpus import draw_example
from sgpo.testbed.world import TIERS

SHIPPED = Path(__file__).parent / "bases"
WEIGHTS, RECORD = "model.safetensors", "base.json"
EXAMPLES = 100


class ShippedBaseError(UserError, ValueError):
    """A shipped base model whose files are not those that were packed; names the file and both checksums."""


class BaseRecord(Settings):
    """`base.json`: where a shipped base model comes from."""

    command: str
    processes: int
    decisions: int
    base_model: BaseModelConfig
    world_sha256: str
    weights_sha256: str
    torch_version: str


def pack(folder: Path, config: BaseModelConfig, decisions: int, packed: Path, processes: int) -> None:
    """Write the base model in `folder` to `packed` as the package ships it: float16, with its record."""
    model, tokenizer = load_model(folder)
    with publish_folder(packed) as aside:
        model.half().save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        record = BaseRecord(
            command=f"sgpo world base-model --build --pack sgpo/testbed/bases/{packed.name}", processes=processes,
            decisions=decisions, base_model=config, world_sha256=world_sha256(config, decisions),
            weights_sha256=file_sha256(aside / WEIGHTS), torch_version=torch.__version__,
        )  # fmt: skip
        write_json(aside / RECORD, record.model_dump(mode="json"))


def find_shipped(config: BaseModelConfig, decisions: int) -> tuple[Path | None, str]:
    """Return the shipped base model with these settings, and a line that says which it is, or why there is none.

    Raises ShippedBaseError when its weights are not those that were packed.
    """
    folder = SHIPPED / f"{config.family}-{decisions}"
    if not (folder / RECORD).is_file():
        return None, f"none is shipped for {config.family} and {decisions} decisions"
    record = _read_record(folder)
    settings, shipped = config.model_dump(), record.base_model.model_dump()
    if (key := first_difference(shipped, settings)) is not None:
        return None, f"base_model.{key} is {settings[key]}, and {shipped[key]} for the shipped one"
    if record.world_sha256 != world_sha256(config, decisions):
        return None, "the world's wording or drawing is not that of the shipped one"
    if (found := file_sha256(folder / WEIGHTS)) != record.weights_sha256:
        raise ShippedBaseError(
            f"{folder / WEIGHTS}: sha256 is {found[:16]}… (expected {record.weights_sha256[:16]}…, as in {RECORD}: "
            "install the package again, or pre-train with `sgpo world base-model --build`)"
        )
    return folder, f"{config.family}, {decisions} decisions, seed {config.seed}, sha256 {found[:16]}"


def unpack(folder: Path, target: Path) -> None:
    """Write a shipped base model to `target` in float32, as a fresh pre-training leaves it."""
    model, tokenizer = load_model(folder)
    with publish_folder(target) as aside:
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)


def world_sha256(config: BaseModelConfig, decisions: int) -> str:
    """Return the sha256 of a hundred examples of the corpus: another one when wording, ranges or drawing change."""
    choose = random.Random("world")
    examples = (draw_example(config.corpus, choose, max(TIERS), decisions) for _ in range(EXAMPLES))
    return hashlib.sha256("\n".join(map(repr, examples)).encode()).hexdigest()


def _read_record(folder: Path) -> BaseRecord:
    path = folder / RECORD
    try:
        return BaseRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        first: Any = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "(whole)"
        raise ShippedBaseError(f"{path}: '{where}': {first['msg']} (install the package again)") from None
