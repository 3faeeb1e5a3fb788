"""docs/your-model.md, followed to the letter: a hub's model, problems from files, a first champion, a retraining."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_checkout import REPOSITORY, TINY_OVERRIDES, TINY_PARAMS, make_tiny_checkout, warm_environment_of
from warm_python import WarmProcess

from sgpo.config import dump_config, load_config
from sgpo.config.testbed import BaseModelConfig, WorldConfig
from sgpo.testbed import base_model
from sgpo.testbed.world import build_split

pytestmark = pytest.mark.slow

RETRAIN = """
import os
from pathlib import Path
from flows.server import prefect_server, wait_for
with prefect_server(Path(os.environ["PREFECT_HOME"])) as url:
    os.environ["PREFECT_API_URL"] = url
    from flows.retrain import retrain
    wait_for(url)
    retrain("configs/mine.yaml", "first")
"""


class Place:
    """A checkout, and a hub's cache that has one model."""

    def __init__(self, folder: Path, prefect_database: Path) -> None:
        self.checkout = make_tiny_checkout(folder / "checkout", prefect_database)
        self.environment = {**warm_environment_of(self.checkout), "HF_HOME": str(folder / "hub")}
        snapshot = folder / "hub" / "hub" / "models--an-owner--a-model" / "snapshots" / ("0" * 40)
        tokenizer = base_model.testbed_tokenizer()
        base_model.new_model(BaseModelConfig(hidden_size=32, layers=1), tokenizer).save_pretrained(snapshot)
        tokenizer.save_pretrained(snapshot)
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text(snapshot.name)

    def run(self, *command: str) -> str:
        """Output of a command in the checkout, with the tools of this environment."""
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=self.checkout, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def sgpo(self, *arguments: str) -> str:
        return self.run("sgpo.cli", *arguments)

    def sgpo_warm(self, *arguments: str) -> str:
        """The same for commands that do not ask the hub, whose cache is chosen when its client is imported."""
        process = WarmProcess(["-m", "sgpo.cli", *arguments], self.checkout, self.environment)
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 0, output
        return output


@pytest.fixture
def place(tmp_path: Path, prefect_database: Path) -> Place:
    return Place(tmp_path, prefect_database)


def as_jsonl(path: Path, split) -> str:
    """A user's file: question, answer, and a column that no reader needs to be told of."""
    rows = [
        {"question": problem.question, "answer": problem.answer, "source": path.stem}
        for problem in build_split(WorldConfig(**TINY_PARAMS["world"]), split)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.long
def test_the_page_from_the_hub_to_a_retraining(place: Place, tmp_path: Path) -> None:
    recipe = load_config(None, [*TINY_OVERRIDES, "tracking.registered_model=mine"])
    (place.checkout / "configs" / "mine.yaml").write_text(dump_config(recipe), encoding="utf-8")

    place.run("dvc", "remove", "--outs", "world")
    place.run("dvc", "remove", "base_model")
    place.sgpo_warm("problems", "import", as_jsonl(tmp_path / "train.jsonl", "train"), "--split", "train")
    held_out = [as_jsonl(tmp_path / "one.jsonl", "held_out"), as_jsonl(tmp_path / "two.jsonl", "tuning")]
    said = place.sgpo_warm("problems", "import", *held_out, "--split", "held_out")
    assert "data/problems/held_out.parquet: 20 problems" in said
    place.run("dvc", "add", "data/problems")
    registered = place.sgpo("registry", "register", "an-owner/a-model", "--config", "configs/mine.yaml")
    assert registered.endswith("mine version 1: an-owner/a-model\n")
    assert "the guided prompt" in registered
    assert place.sgpo("registry", "register", "an-owner/a-model", "--config", "configs/mine.yaml") == registered
    place.sgpo_warm("registry", "champion", "1", "Where we start.", "--config", "configs/mine.yaml")
    (place.checkout / "retrain.py").write_text(RETRAIN, encoding="utf-8")
    place.run("retrain")

    summary = json.loads((place.checkout / "runs" / "first" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["registered_model"], summary["champion_before"], summary["challenger_version"]) == (
        "mine",
        "1",
        "2",
    )
    assert summary["comparison"]["tiers"].keys() == {"one", "two"}
    assert "data/problems" in summary["data_versions"]
    lineage = place.sgpo_warm("registry", "lineage", "2", "--config", "configs/mine.yaml")
    assert "an-owner/a-model" in lineage or "version 1" in lineage
    assert f"data/problems  {summary['data_versions']['data/problems']}" in lineage


def test_every_command_of_the_page_exists_and_its_recipes_too() -> None:
    page = (REPOSITORY / "docs" / "your-model.md").read_text(encoding="utf-8")
    for recipe in re.findall(r"configs/[\w.-]+\.yaml", page) + re.findall(r"`([\w.-]+\.yaml)`", page):
        assert (REPOSITORY / recipe).is_file() or (REPOSITORY / "configs" / recipe).is_file(), recipe
    commands = set(re.findall(r"^sgpo ([a-z-]+(?: [a-z][a-z-]*)?)", page, flags=re.MULTILINE))
    assert {"problems import", "registry register", "registry champion", "up", "evaluate"} <= commands
    for command in commands:
        done = subprocess.run([sys.executable, "-m", "sgpo.cli", *command.split(), "--help"], capture_output=True)
        assert done.returncode == 0, command
    assert shutil.which("dvc", path=str(Path(sys.executable).parent))
