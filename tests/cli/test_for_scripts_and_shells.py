"""What scripts and shells need of the commands: JSON, completion, no colours, quiet."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sgpo.config import load_config
from sgpo.evaluation.outcomes import write_outcomes
from sgpo.evaluation.scores import Outcome
from sgpo.progress import QUIET, progress_bar
from sgpo.training.report import StepReport
from sgpo.training.world import World
from tests.browse.run_folders import add_run

pytestmark = pytest.mark.slow
COMMAND = [sys.executable, "-c", "import sys; from sgpo.cli.main import main; sys.argv[0] = 'sgpo'; main()"]


def shell(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    python_path = str(Path(__file__).parents[2])
    return subprocess.run(
        [*COMMAND, *arguments], cwd=cwd, env={**environment, "PYTHONPATH": python_path, **variables},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_a_comparison_is_json_with_the_gates_decision(sgpo, tmp_path: Path) -> None:
    for who, rewards in (("champion", (0.0, 0.0)), ("challenger", (1.0, 1.0))):
        rows = [Outcome(problem_id=f"p{n}", tier="one", rewards=rewards) for n in range(30)]
        write_outcomes(rows, tmp_path / f"{who}.jsonl", {"model": who})
    told = sgpo(
        "compare", "--champion", "champion.jsonl", "--challenger", "challenger.jsonl", "--json",
        "--better-worse", "changed.jsonl", cwd=tmp_path,
    )  # fmt: skip
    whole = json.loads(told.stdout)
    assert whole["comparison"]["overall"]["difference"]["value"] == 1.0
    assert whole["decision"]["promote"] is True
    assert len((tmp_path / "changed.jsonl").read_text().splitlines()) == 30


def test_domains_are_json(sgpo, tmp_path: Path) -> None:
    rows = {row["domain"]: row for row in json.loads(sgpo("verifiers", "list", "--json", cwd=tmp_path).stdout)}
    assert rows["math"]["origin"] == "built in"
    assert {"exact", "choice", "json", "code"} <= rows.keys()
    assert rows["math"]["fault"] is rows["exact"]["fault"] is None


def test_a_verifier_that_cannot_be_imported_is_listed_with_its_fault(sgpo, tmp_path: Path) -> None:
    mine = ["domains.mine.verifier=nosuch:judge"]
    lines = sgpo("verifiers", "list", *mine, cwd=tmp_path).stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("mine: nosuch:judge (recipe")]
    assert "; cannot judge: nosuch:judge cannot be imported: No module named 'nosuch'" in line
    assert not [line for line in lines if line.startswith(("math", "exact")) and "cannot judge" in line]
    rows = json.loads(sgpo("verifiers", "list", "--json", *mine, cwd=tmp_path).stdout)
    (fault,) = [row["fault"] for row in rows if row["domain"] == "mine"]
    assert fault.startswith("nosuch:judge cannot be imported")


@pytest.mark.parametrize(
    "command",
    [
        "verifiers list", "verifiers check --problems problems.jsonl", "runs", "runs prune --dry-run --keep 0",
        "plan --shape qwen2.5-7b --gpus 8 --kind h100",
    ],
)  # fmt: skip
def test_stdout_is_one_json_document(command: str, sgpo, tmp_path: Path) -> None:
    row = json.dumps({"question": "What is 2 + 3?", "answer": "5"}) + "\n"
    (tmp_path / "problems.jsonl").write_text(row, encoding="utf-8")
    add_run(tmp_path / "runs", "a", 1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert json.loads(sgpo(*command.split(), "--json", cwd=tmp_path).stdout, parse_constant=pytest.fail)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_unfit_verifier_ends_with_1_for_a_program_too(sgpo, tmp_path: Path) -> None:
    row = json.dumps({"question": "Which letter?", "answer": "{oops", "domain": "choice"}) + "\n"
    (tmp_path / "problems.jsonl").write_text(row, encoding="utf-8")
    done = sgpo("verifiers", "check", "--problems", "problems.jsonl", "--json", cwd=tmp_path)
    (report,) = json.loads(done.stdout)
    assert done.returncode == 1
    assert (report["domain"], report["passed"]) == ("choice", False)
    assert report["failures"][0].startswith("gold answer does not pass")


def test_a_shell_completes_commands_and_options(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("# mine\n")
    no_parent = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", "HOME": str(tmp_path)}
    installed = shell("--install-completion", "bash", cwd=tmp_path, **no_parent)
    assert installed.returncode == 0, installed.stderr
    assert (tmp_path / ".bashrc").read_text().startswith("# mine\n")
    assert "_SGPO_COMPLETE=complete_bash" in (tmp_path / ".bash_completions" / "sgpo.sh").read_text()

    def completed(words: str) -> set[str]:
        asked = {"_SGPO_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
        return set(shell(cwd=tmp_path, **asked).stdout.split())

    assert {"runs", "rollouts", "retrain"} <= completed("sgpo r")
    assert completed("sgpo runs prune --dry") == {"--dry-run"}
    assert completed("sgpo retrain --fol") == {"--follow"}  # read by flows/, in a process of its own
    assert completed("sgpo status --j") == {"--json"}
    assert completed("sgpo strategies list --band h") == {"high"}


def test_no_color_leaves_colours_out(tmp_path: Path) -> None:
    add_run(tmp_path / "runs", "a", 1)
    colour = re.compile(r"\x1b\[[\d;]*3\d")
    for arguments in (["--help"], ["runs"]):
        assert colour.search(shell(*arguments, cwd=tmp_path, FORCE_COLOR="1").stdout)
        assert not colour.search(shell(*arguments, cwd=tmp_path, FORCE_COLOR="1", NO_COLOR="1").stdout)


def test_quiet_leaves_out_bars_and_steps_and_no_warning(
    sgpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    report = StepReport(World(0, 1, torch.device("cpu")), load_config().training.steps, 0)

    def said() -> str:
        capsys.readouterr()
        report.show(0, {"reward/autonomous": 0.5}, ["the guide has collapsed"])
        with progress_bar(2, "measuring") as bar:
            bar.update()
        captured = capsys.readouterr()
        return captured.out + captured.err

    monkeypatch.setenv(QUIET, "0")  # set, so that what the command sets goes with the test
    loud = said()
    assert "reward 0.50" in loud
    assert "measuring" in loud
    assert sgpo("-q", "runs", "--folder", ".", "--json", cwd=tmp_path).stdout == "[]\n"
    assert said() == "warning: the guide has collapsed\n"
