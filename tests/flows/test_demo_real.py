"""`make demo-real` on a tiny GGUF file: killed in training, finished by the same command, in a checkout of its own."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_checkout import REPOSITORY, make_tiny_checkout, warm_environment_of

from flows.demo_real import _absolute

pytestmark = [pytest.mark.slow, pytest.mark.long]

pytest.importorskip("gguf", reason="the package gguf (extra gguf) writes the student of this test")
sys.path.insert(0, str(REPOSITORY / "tests" / "rollouts"))
from tiny_gguf import write_tiny_gguf  # noqa: E402

OVERRIDES = (
    "training.problems_per_step=2", "training.algorithm.autonomous_rollouts=2", "training.validation.every=null",
    "training.sampling.max_new_tokens=8", "evaluation.sampling.max_new_tokens=8", "evaluation.k=1", "gate.margin=-1",
    "gate.tolerance=1",
    # So small a student says nothing that can be read, and learns nothing: sgpo.checks would end it at once.
    "checks.before_training=false", "checks.refuse_unchanged=false", "training.stop_after_equal_steps=null",
)  # fmt: skip


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_tiny_checkout(tmp_path_factory.mktemp("real"))
    shutil.copytree(REPOSITORY / "data" / "word_problems", folder / "data" / "word_problems")
    write_tiny_gguf(folder / "tiny.gguf")
    return folder


def start(checkout: Path, *more: str) -> subprocess.Popen[str]:
    student = ("--gguf", str(checkout / "tiny.gguf"), "--sha256", "")
    return subprocess.Popen(
        [sys.executable, "-m", "flows.demo_real", "--quick", *student, *OVERRIDES, *more], cwd=checkout, text=True,
        env=warm_environment_of(checkout), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_a_demo_killed_in_training_is_finished_by_the_same_command(checkout: Path) -> None:
    first = start(checkout)
    assert first.stdout is not None
    before = []
    for line in first.stdout:
        before.append(line)
        if line.startswith("  step    2/3"):
            first.send_signal(signal.SIGKILL)
            break
    first.wait()
    said = "".join(before)
    assert "champion none -> 1" in said
    assert "warmed up on these 30 problems before, and not again" in said
    assert before[-1].startswith("  step    2/3"), said

    output, _ = (second := start(checkout)).communicate(timeout=500)
    assert second.returncode == 0, output
    assert "step    1/3" not in output
    assert "step    3/3" in output
    place = checkout / ".sgpo" / "demo-real-quick"
    summary = json.loads((place / "runs" / "demo-001" / "summary.json").read_text())
    assert (summary["champion_before"], summary["champion_after"]) == ("1", "2")
    assert summary["registered_model"] == "sgpo-smollm2-135m"
    probed = json.loads((place / "data" / "probe.json").read_text())["problems"]
    assert (probed, json.loads((place / "data" / "splits.json").read_text())["warmup"]) == (8, 30)
    refused = json.loads((place / "data" / "strategies.json").read_text())["refused"]
    assert refused == {"no_problem": 300}  # the recording has the problems that a quick run leaves out, too
    assert not (checkout / "data" / "problems").exists()  # the checkout that it was started in is as it was


def test_a_file_that_is_not_the_student_is_one_line(checkout: Path) -> None:
    output, _ = (demo := start(checkout, "--sha256", "0" * 64)).communicate(timeout=60)
    assert demo.returncode == 1
    assert output.startswith(f"ModelFolderError: {checkout}/tiny.gguf: sha256 is ")
    assert output.count("\n") == 1


def test_a_student_named_from_here_is_found_from_the_checkout(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    whole = str(tmp_path / "own.gguf")
    assert _absolute(["--gguf", "own.gguf", "--quick"]) == ["--gguf", whole, "--quick"]
    assert _absolute(["--gguf=own.gguf"]) == [f"--gguf={whole}"]
    assert _absolute(["--quick"])[0] == "--gguf"
