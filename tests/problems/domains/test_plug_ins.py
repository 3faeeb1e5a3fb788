"""A package of one's own adds a verifier; whatever it does costs its own verdicts, and bad names are named."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sgpo.config import DomainConfig
from sgpo.problems import Problem, Verifier
from sgpo.problems.domains import registry
from sgpo.problems.domains.registry import DomainError

pytestmark = pytest.mark.slow

PLUG_IN = """
import os, time
from sgpo.problems import Verdict

def judge(response, problem):
    if response == "hang":
        while True: time.sleep(1)
    if response == "die":
        os._exit(7)
    if response == "raise":
        raise KeyError("no such thing")
    if response == "eat":
        x = []
        while True: x.append(bytearray(10**7))
    if response == "nan":
        return Verdict(False, None, "wrong", float("nan"))
    if response == "none":
        return None
    if response.startswith("score "):
        score = float(response[6:])
        return Verdict(score > 0, response, "wrong", score)
    right = response == problem.answer
    return Verdict(right, response, "correct" if right else "wrong")

judge.present = lambda problem: problem.answer

class Lacking:
    def __init__(self, level: int = 1):
        from sgpo.errors import UserError
        raise UserError("the compiler gnuc is missing (expected `apt install gnuc`)")
    def __call__(self, response, problem): ...

NUMBER = 3
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in a folder on the Python path, installed as its metadata says."""
    (tmp_path / "own_units").mkdir()
    (tmp_path / "own_units" / "__init__.py").write_text(PLUG_IN, encoding="utf-8")
    metadata = tmp_path / "own_units-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: own-units\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[sgpo.verifiers]\nunits = own_units:judge\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._installed.cache_clear()
    yield tmp_path
    registry._installed.cache_clear()


UNITS = Problem(question="How long?", answer="3 m", domain="units")
SUM = Problem(question="1 + 1?", answer="2")


def test_a_packages_verifier_judges_its_domain_beside_mathematics(package: Path) -> None:
    with Verifier(workers=1, problems=[UNITS, SUM]) as verifier:
        verdicts = verifier.score_many([("3 m", UNITS), (r"\boxed{2}", SUM), ("4 m", UNITS), ("3 m", SUM)])
        assert [verdict.reason for verdict in verdicts] == ["correct", "correct", "wrong", "no_answer"]
        assert verifier.present_many([SUM, UNITS]) == [r"\boxed{2}", "3 m"]


def test_a_crash_or_a_hang_costs_one_verdict(package: Path) -> None:
    texts = ["3 m", "hang", "die", "raise", "eat", "3 m"]
    domains = {"units": DomainConfig(timeout_s=3.0, memory_mb=300)}
    with Verifier(workers=1, domains=domains) as verifier:
        started = time.monotonic()
        verdicts = verifier.score_many([(text, UNITS) for text in texts])
        assert time.monotonic() - started < 60
    assert [one.reason for one in verdicts] == ["correct", "timeout", "crashed", "crashed", "crashed", "correct"]


def test_a_partial_score_passes_from_the_threshold_on_only(package: Path) -> None:
    texts = ["score 0.5", "score 0.99", "score 1.0", "score 0.0"]
    with Verifier(workers=1) as verifier:
        verdicts = verifier.score_many([(text, UNITS) for text in texts])
    assert [(one.correct, one.reason, one.score) for one in verdicts] == [
        (False, "wrong", 0.5), (False, "wrong", 0.99), (True, "correct", 1.0), (False, "wrong", 0.0),
    ]  # fmt: skip
    with Verifier(workers=1, domains={"units": DomainConfig(threshold=0.5)}) as verifier:
        assert [verifier.score(text, UNITS).correct for text in texts] == [True, True, True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [("nan", r"domain 'units': own_units:judge returned a score of nan \(expected 0\.0 to 1\.0, or None\)"),
     ("score 1.5", r"returned a score of 1\.5 \(expected 0\.0 to 1\.0"),
     ("none", r"own_units:judge returned None \(expected a Verdict\)")],
)  # fmt: skip
def test_what_is_no_verdict_is_an_error_of_the_verifier(text: str, message: str, package: Path) -> None:
    with Verifier(workers=1) as verifier, pytest.raises(DomainError, match=message) as raised:
        verifier.score(text, UNITS)
    assert raised.value.exit_code == 1
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("domain", "settings", "message"),
    [("unit", {}, r"no verifier for domain 'unit' \(expected one of .*units; 'units' is nearest\)"),
     ("maths", {}, r"no verifier for domain 'maths' .*'math' is nearest"),
     ("mine", {"verifier": "no_such_package:judge"}, r"no_such_package:judge cannot be imported: No module named"),
     ("mine", {"verifier": "own_units:juge"}, r"own_units:juge cannot be imported: .*juge"),
     ("mine", {"verifier": "own_units:NUMBER"}, r"own_units:NUMBER is a int \(expected a function or a class\)"),
     ("mine", {"verifier": "own_units:Lacking"}, r"domain 'mine': the compiler gnuc is missing"),
     ("mine", {"verifier": "own_units:Lacking", "options": {"levle": 2}}, r"no option 'levle' .*'level' is nearest"),
     ("exact", {"options": {"cases": True}}, r"no option 'cases' \(expected one of case; 'case' is nearest\)"),
     ("exat", {"threshold": 0.5}, r"domains\.exat: no verifier for domain 'exat' .*'exact' is nearest"),
     ("math", {"threshold": 0.5}, r"domains\.math: mathematics takes no options")],
)  # fmt: skip
def test_a_domain_that_cannot_be_judged_is_said_before_anything_is(
    domain: str, settings: dict, message: str, package: Path
) -> None:
    problem = Problem(question="How long?", answer="3 m", domain=domain)
    domains = {domain: DomainConfig(**settings)} if settings else {}
    with pytest.raises(DomainError, match=message), Verifier(workers=1, domains=domains, problems=[problem]):
        pass


def test_a_name_that_is_taken_is_refused_unless_the_recipe_decides(package: Path) -> None:
    (package / "own_units-1.0.dist-info" / "entry_points.txt").write_text("[sgpo.verifiers]\nexact = own_units:judge\n")
    registry._installed.cache_clear()
    with pytest.raises(DomainError, match=r"domain 'exact': registered by own-units .*, but there is one already"):
        registry.find_domain("exact")


def test_a_recipe_may_replace_mathematics(package: Path) -> None:
    with Verifier(workers=1, domains={"math": DomainConfig(verifier="own_units:judge")}) as verifier:
        assert verifier.score("2", SUM).correct


def test_the_commands_list_try_and_refuse_it(package: Path, tmp_path: Path) -> None:
    def sgpo(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": f"{package}:{Path(__file__).parents[3]}"}
        command = [sys.executable, "-m", "sgpo.cli", "verifiers", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)

    assert "units: own_units:judge (own-units; passes from 1; prompts: logic)" in sgpo("list").stdout.splitlines()
    problems = tmp_path / "p.jsonl"
    problems.write_text("".join(one.model_dump_json(exclude_none=True) + "\n" for one in (UNITS, SUM)))
    tried = sgpo("check", "--problems", str(problems))
    assert tried.returncode == 0, tried.stderr
    assert "units: passed; 1 problem, 7 responses" in tried.stdout
    refused = sgpo("check", "--problems", str(problems), "domains.units.verifier=own_units:jugde")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "jugde" in refused.stderr
