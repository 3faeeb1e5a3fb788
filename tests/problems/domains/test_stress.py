"""The stress test finds what a verifier must not do, and nothing in those that are there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sgpo.config import DomainConfig
from sgpo.problems import Problem, Verifier
from sgpo.problems.domains.code.sandbox import SandboxError, check_sandbox
from sgpo.problems.domains.registry import known_domains
from sgpo.problems.domains.stress import StressReport, stress
from sgpo.testbed.functions import draw_functions

pytestmark = pytest.mark.slow

FAULTY = """
import itertools
from sgpo.problems import Verdict

calls = itertools.count()

def verdict(right):
    return Verdict(right, None, "correct" if right else "wrong")

def everything(response, problem): return verdict(True)
def nothing(response, problem): return verdict(False)
def anywhere(response, problem): return verdict(problem.answer in response)
def moody(response, problem): return verdict(next(calls) % 2 == 0)
def strict(response, problem): return verdict(response == f"\\\\boxed{{{problem.answer}}}" or 1 / len(response) < 0)
"""


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "faulty.py").write_text(FAULTY, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "faulty"
    sys.modules.pop("faulty", None)


def report_of(verifier: str, workers: int = 1) -> StressReport:
    problems = [Problem(question=f"Say {word}.", answer=word, domain="own") for word in ("blue", "green", "red")]
    with Verifier(workers=workers, domains={"own": DomainConfig(verifier=verifier)}, problems=problems) as opened:
        (report,) = stress(problems, opened)
    return report


@pytest.mark.parametrize(
    ("verifier", "found"),
    [("everything", ["empty passes", "blank passes", "cut in the middle passes", "cut at the end passes",
                     "question again passes", "1 MB passes"]),
     ("nothing", ["gold answer does not pass: 'wrong'"]),
     ("anywhere", ["cut at the end passes", "question again passes", "1 MB passes", "run-on passes"]),
     ("strict", ["empty: 'crashed' (expected a verdict)"]), ("moody", ["(expected the same twice)"])],
)  # fmt: skip
def test_each_fault_is_named_with_its_problems(verifier: str, found: list[str], faulty: str) -> None:
    report = report_of(f"{faulty}:{verifier}")
    assert not report.passed
    said = "\n".join(report.lines())
    assert all(one in said for one in found), said
    if verifier in ("nothing", "strict"):
        assert len(report.failures) == 1


def test_reasoning_gym_passes_on_tasks_of_several_kinds() -> None:
    pytest.importorskip("reasoning_gym", reason="the extra `reasoning` is not installed")
    from sgpo.problems.domains.reasoning_gym.source import draw_problems

    tasks = ("aiw", "knights_knaves", "countdown", "spiral_matrix", "leg_counting")
    problems = [problem for task in tasks for problem in draw_problems(task, 3, 1, {}).problems]
    with Verifier(timeout_s=30.0, workers=1, problems=problems) as verifier:
        (report,) = stress(problems, verifier)
    assert report.passed, report.lines()
    assert (report.domain, report.problems) == ("reasoning-gym", 15)


def test_code_passes_on_tiny_functions() -> None:
    try:
        check_sandbox()
    except SandboxError as error:
        pytest.skip(str(error))
    problems = draw_functions("train", 6)
    with Verifier(workers=1, problems=problems) as verifier:
        (report,) = stress(problems, verifier)
    assert report.passed, report.lines()
    assert (report.domain, report.problems, report.responses) == ("code", 6, 48)


def test_every_built_in_domain_has_a_stress_test_here() -> None:
    own = {name for name, spec in known_domains().items() if spec.origin == "built in"}
    assert own == {"math", "exact", "choice", "json", "reasoning-gym", "code"}


def test_the_small_verifiers_and_mathematics_pass() -> None:
    golds = {"exact": ("Paris", "Rome"), "choice": ("A", "B"), "json": ('{"a": [1]}', "[2, 3]"), "math": ("3/4", "x+1")}
    problems = [
        Problem(question=f"Question {n} of {domain}?", answer=answer, domain=domain)
        for domain, answers in golds.items()
        for n, answer in enumerate(answers)
    ]
    with Verifier(timeout_s=30.0, workers=1, problems=problems) as verifier:
        reports = stress(problems, verifier)
    assert [report.domain for report in reports] == sorted(golds)
    assert all(report.passed and report.problems == 2 and report.responses == 16 for report in reports), reports
    assert all(0.0 < report.median_seconds <= report.worst_seconds for report in reports)
