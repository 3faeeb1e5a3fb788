"""docs/domains.md from problems to a decision: code with Prefect, logic without, with models that take seconds."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_checkout import REPOSITORY, make_tiny_checkout, warm_environment_of
from warm_python import WarmProcess

from sgpo.problems import read_problems
from sgpo.problems.domains.code.sandbox import SandboxError, check_sandbox

pytestmark = [pytest.mark.slow, pytest.mark.long]

PAGE = (REPOSITORY / "docs" / "domains.md").read_text(encoding="utf-8").partition("## Two worked domains")[2]
COMMANDS = re.search(r"```bash\n(.*?)```", PAGE, re.DOTALL)[1].splitlines()
SMALLER = {
    "--size 500": "--size 24", "--size 100": "--size 4", "--size 200": "--size 12",
    "sgpo world functions": "sgpo world functions --train 24 --tuning 4 --held-out 12",
    "sgpo world domain-base": "sgpo world domain-base --steps 20",
}  # fmt: skip
OVERRIDES = (
    "training.steps=2", "training.problems_per_step=4", "training.algorithm.autonomous_rollouts=2",
    "training.algorithm.guided_rollouts=2", "training.sampling.max_new_tokens=24", "evaluation.k=1",
    "evaluation.sampling.max_new_tokens=24", "checks.before_training=false", "checks.refuse_unchanged=false",
    "training.stop_after_equal_steps=null",
)  # fmt: skip
RETRAIN = """
import os, sys
from pathlib import Path
from flows.server import prefect_server, wait_for
with prefect_server(Path(os.environ["PREFECT_HOME"])) as url:
    os.environ["PREFECT_API_URL"] = url
    from flows.retrain import retrain
    wait_for(url)
    retrain(sys.argv[1], sys.argv[2], overrides=sys.argv[3:])
"""


def commands_of(domain: str) -> list[str]:
    """The page's commands for a domain, up to the retraining, with fewer problems and a smaller model."""
    others = {"logic": "world functions", "code": "reasoning-gym:"}[domain]
    lines = [line.partition("  #")[0].strip().replace("$D", domain) for line in COMMANDS]
    kept = [line for line in lines if others not in line and not line.startswith(("D=", "sgpo retrain "))]
    for large, small in SMALLER.items():
        kept = [line.replace(large, small) for line in kept]
    return [command for line in kept for command in line.split(" && ")]


def run(checkout: Path, command: str) -> str:
    """Output of one line of the page in the checkout."""
    program, *arguments = shlex.split(command)
    if program == "cp":
        shutil.copy(*(checkout / path for path in arguments))
        return ""
    if program == "sgpo":
        process = WarmProcess(["-m", "sgpo.cli", *arguments], checkout, warm_environment_of(checkout))
        output, _ = process.communicate(timeout=300)
        code = process.returncode
    else:
        done = subprocess.run(
            [sys.executable, "-m", program, *arguments], cwd=checkout, env=warm_environment_of(checkout),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        output, code = done.stdout + done.stderr, done.returncode
    assert code == 0, f"{command}: {output}"
    return output


def follow_the_page(checkout: Path, domain: str) -> None:
    """Everything before the retraining: problems, strategies, a base model as first champion."""
    said = {command: run(checkout, command) for command in commands_of(domain)}
    assert any("passed; 20 problems" in text for command, text in said.items() if "verifiers check" in command)
    assert any("24 strategies" in text for text in said.values())


def check_judged_by(checkout: Path, domain: str) -> None:
    """The problems of training are of that domain, and the run was made with its verifier."""
    assert {one.domain for one in read_problems(checkout / "data" / "splits" / "train.parquet")} == {domain}
    made_of = json.loads((checkout / "runs" / "first" / "made_of.json").read_text(encoding="utf-8"))
    assert f"verifier of domain '{domain}'" in made_of


def test_code_from_problems_to_a_decision_of_the_flow(tmp_path: Path, prefect_database: Path) -> None:
    try:
        check_sandbox()
    except SandboxError as error:
        pytest.skip(str(error))
    checkout = make_tiny_checkout(tmp_path / "checkout", prefect_database)
    follow_the_page(checkout, "code")
    (checkout / "domain_retrain.py").write_text(RETRAIN, encoding="utf-8")
    run(checkout, f"domain_retrain configs/code.yaml first {shlex.join(OVERRIDES)}")
    summary = json.loads((checkout / "runs" / "first" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["registered_model"], summary["champion_before"]) == ("sgpo-code", "1")
    assert summary["challenger_version"] == "2"
    check_judged_by(checkout, "code")


def test_logic_from_problems_to_a_decision_without_prefect(tmp_path: Path) -> None:
    if importlib.util.find_spec("reasoning_gym") is None:
        pytest.skip("the extra `reasoning` is not installed")
    checkout = make_tiny_checkout(tmp_path / "checkout")
    follow_the_page(checkout, "logic")
    assert re.search(r"Without a Prefect server .* `sgpo probe --model data/base/\$D && sgpo split`", PAGE)
    run(checkout, "sgpo probe --model data/base/logic")
    run(checkout, "sgpo split")
    recipe = f"--config configs/logic.yaml {shlex.join(OVERRIDES)}"
    run(checkout, f"sgpo train --model data/base/logic --run runs/first {recipe}")
    measured = {"champion": "data/base/logic", "challenger": "runs/first/model"}
    for name, model in measured.items():
        run(checkout, f"sgpo evaluate --model {model} --output runs/{name}.jsonl {recipe}")
    files = " ".join(f"--{name} runs/{name}.jsonl" for name in measured)
    compared = json.loads(run(checkout, f"sgpo compare {files} --json {recipe}"))
    assert compared["comparison"]["overall"]["problems"] == 12
    assert compared["decision"]["promote"] in (True, False)
    check_judged_by(checkout, "reasoning-gym")
