"""What counts as the right answer, and that judging it never stops the run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgpo.problems import Problem, Verifier
from sgpo.problems.responses import final_answer
from sgpo.problems.verifier import VerifierError

ROOT = Path(__file__).parents[2]
HANGS = r"\boxed{9^{9^{9^{9^{9}}}}}"


@pytest.fixture(scope="module")
def verifier():
    with Verifier(timeout_s=30.0) as verifier:  # slow machines only make these slower
        yield verifier


def problem(answer: str, question: str = "What is it?", **fields) -> Problem:
    return Problem(question=question, answer=answer, **fields)


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"so \boxed{7}, no: \boxed{8}", "8"),
        (r"<think>\boxed{7}</think> It is \boxed{8}.", "8"),
        (r"\boxed{7} it may be</think>\boxed{8}", "8"),
        (r"\boxed{7}</think> I do not know.", None),
        (r"<think>\boxed{7} and so on", None),
        (r"\boxed{8} <think> \boxed{7}", "8"),
        ("The answer is 7.", None),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, \{2\}\}}", r"\{1, \{2\}\}"),
        (r"\boxed{\boxed{5}, 6}", r"\boxed{5}, 6"),
        (r"\boxed {5}", "5"),
        (r"$\boxed 5$", "5"),
        (r"\fbox{5}", "5"),
        (r"\boxed{5} and \boxed{6", None),
        (r"put { it in \boxed{5}", "5"),
        (r"in \boxed{}: \boxed{5}, as \boxed{ } asked", "5"),
        ("", None),
    ],
)
def test_the_last_box_after_thinking_is_the_answer(response, answer):
    assert final_answer(response) == answer


PIECES = ["\\boxed", "\\boxed{", "\\fbox{", "{", "}", "\\{", "\\", "<think>", "</think>", "5", "x", " ", ",", "(", ")",
          "\\frac", "^", "_", "\\pm", "$", "\\text{", "\\%", "1/0", "\\left(", "]", "[", "\\begin{a}", "="]  # fmt: skip
any_text = st.text(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


@settings(max_examples=500, deadline=None)
@given(text=any_text)
def test_looking_for_the_last_box_never_raises(text):
    answer = final_answer(text)
    assert answer is None or answer in text


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(any_text, max_size=8), gold=st.sampled_from(["5", "x^2+1", "(1,2)", "1,2", r"\text{A}", "5 km"]))
def test_scoring_never_raises_whatever_the_text(texts, gold, verifier):
    responses = texts + [f"\\boxed{{{text}}}" for text in texts]
    verdicts = verifier.score_many([(response, problem(gold)) for response in responses])
    assert len(verdicts) == len(responses)
    for verdict in verdicts:
        assert verdict.correct == (verdict.reason == "correct")
        assert (verdict.extracted is None) == (verdict.reason == "no_answer")


PERCENT, LENGTH = "What percentage is it?", "How many kilometers is it?"
RIGHT = [
    (problem(r"\frac{1}{2004!}"), r"1/2004!"),
    (problem("1/3"), "0.333333"),
    (problem(r"\sqrt{2}"), "1.414214"),
    (problem(".0000672"), r"6.72 \times 10^{-5}"),
    (problem(r"137 \frac{1}{2}"), "137.5"),
    (problem("2 3/4"), r"\dfrac{11}{4}"),
    (problem("58,500"), "58{,}500"),
    (problem(r"11,\! 111,\! 111,\! 100"), "11111111100"),
    (problem("0.5"), r"50\%"),
    (problem("50", PERCENT), r"50\%"),
    (problem("62.5%"), "0.625"),
    (problem("62.5%"), "62.5"),
    (problem("10", LENGTH), r"10 \text{ km}"),
    (problem("10", unit="km"), "10 km"),
    (problem("10", unit="km"), r"10\,\mathrm{km}"),
    (problem("166", unit="$cm^2$"), r"166 \text{ square centimeters}"),
    (problem("90", unit=r"^{\circ}"), r"90^\circ"),
    (problem(r"864 \mbox{ inches}^2"), "864"),
    (problem(r"\$32,\!348"), r"\$32{,}348"),
    (problem("7", "In how many ways?"), r"7 \text{ ways}"),
    (problem("27", "How many miles?"), r"\text{27 miles}"),
    (problem("4.2", unit="%", tolerance=0.1), r"4.25\%"),
    (problem("4.2", unit="%", tolerance=0.1), r"\frac{\sqrt{1764}}{10}"),
    (problem(r"\text{(C)}"), "C"),
    (problem(r"\text{Evelyn}"), "evelyn"),
    (problem("52_8"), "52_{8}"),
    (problem("52_8"), "52"),
    (problem("(1,2)"), r"\left( 1,\; \tfrac{4}{2} \right)"),
    (problem("1,2", multiple=True), "2, 1"),
    (problem("1,2", multiple=True), r"\{2, 1\}"),
    (problem("1,2", multiple=True), r"x = 1 \text{ or } x = 2"),
    (problem("2500,7500", multiple=True), "7,500, 2,500"),
    (problem("$(1,1), (3,2)$", multiple=True), "(3, 2), (1, 1)"),
    (problem(r"\frac{1}{2},\sqrt{2}", multiple=True), r"\sqrt2, 0.5"),
    (problem(r"1 \pm \sqrt{19}"), r"1-\sqrt{19}, \sqrt{19}+1"),
    (problem(r"\{1\pm\sqrt{5},-2\}"), r"-2, 1+\sqrt5, 1-\sqrt5"),
    (problem(r"x \in [-2,7]"), r"-2 \le x \le 7"),
    (problem(r"(0,9) \cup (9,36)"), r"(9,36) \cup (0,9)"),
    (problem(r"\begin{pmatrix} -2 \\ -14 \end{pmatrix}"), r"\begin{bmatrix} -2 \\[2pt] -28/2 \end{bmatrix}"),
    (problem("y = 2x + 3"), "3 + 2x"),
    (problem("f(n)=n"), "n + 0"),
    (problem("5x - 7y + 4 = 0"), "-5x + 7y - 4 = 0"),
    (problem(r"\frac{n(n+1)}{2}"), r"\frac{n^2+n}{2}"),
]
WRONG = [
    (problem(r"\frac{1}{2004!}"), r"\frac{1}{2006!}"),
    (problem("1/3"), "0.333"),
    (problem("1.25"), "1.250001"),
    (problem(".0000672"), "0.0000671"),
    (problem("10^{20}"), "10^{20}+1"),
    (problem(r"\sqrt{2}"), "1.41"),
    (problem("50"), r"50\%"),
    (problem("10"), r"10 \text{ km}"),
    (problem("10", unit="km"), r"10 \text{ m}"),
    (problem(r"864 \mbox{ inches}^2"), r"864 \text{ inches}"),
    (problem("5"), r"5 \text{ million}"),
    (problem("4.2", unit="%", tolerance=0.1), "4.31"),
    (problem("3R^2"), "3r^2"),
    (problem("52_8"), "52_9"),
    (problem("52_8"), "42"),
    (problem("(1,2)"), r"\{1,2\}"),
    (problem("(1,2)"), "[1,2]"),
    (problem("(1,2)"), "(2,1)"),
    (problem("(1,2)"), "1, 2"),
    (problem("(3,4]"), "(3,4)"),
    (problem("1,2", multiple=True), "(1,2)"),
    (problem("1,2", multiple=True), "1"),
    (problem("1,2", multiple=True), "1,2,3"),
    (problem("1,1,3", multiple=True), "1,3,3"),
    (problem("x=5"), "y=5"),
    (problem(r"\text{Evelyn}"), r"\text{Angela}"),
    (problem(r"(0,9) \cup (9,36)"), r"(0,9] \cup (9,36)"),
]


def test_the_right_answer_counts_however_it_is_written(verifier):
    verdicts = verifier.score_many([(f"\\boxed{{{text}}}", asked) for asked, text in RIGHT])
    assert [(p.answer, v) for (p, _), v in zip(RIGHT, verdicts, strict=True) if v.reason != "correct"] == []


def test_a_wrong_answer_does_not_count_though_a_kind_algebra_system_accepts_it(verifier):
    verdicts = verifier.score_many([(f"\\boxed{{{text}}}", asked) for asked, text in WRONG])
    reasons = [
        (p.answer, v) for (p, _), v in zip(WRONG, verdicts, strict=True) if v.reason not in ("wrong", "unparsable")
    ]
    assert reasons == []


def test_an_answer_within_the_tolerance_pairs_off_however_the_pairs_overlap(verifier):
    asked = problem("1.0, 1.1", multiple=True, tolerance=0.1)
    assert verifier.score(r"\boxed{1.05, 0.95}", asked).correct
    assert not verifier.score(r"\boxed{0.95, 0.96}", asked).correct


@pytest.mark.parametrize(
    ("response", "reason"),
    [("It is 5.", "no_answer"), (r"\boxed{no idea at all}", "unparsable"), (r"\boxed{x^{}", "no_answer"),
     (r"\boxed{" + "1+" * 2000 + "1}", "unparsable"), (r"\boxed{\frac{x}}", "unparsable")],
)  # fmt: skip
def test_what_is_no_answer_says_why(response, reason, verifier):
    verdict = verifier.score(response, problem("x+1"))
    assert (verdict.correct, verdict.reason) == (False, reason)


@pytest.mark.slow
def test_a_hanging_answer_costs_one_timeout_and_the_others_get_their_verdicts():
    asked = problem("y+x")
    before = set(multiprocessing.active_children())
    responses = [HANGS, r"\boxed{x+y}", HANGS, r"\boxed{x-y}", r"\boxed{y+x+0}"]
    with Verifier(timeout_s=2.0, workers=1) as verifier:
        assert verifier.score(r"\boxed{x+y+0}", asked).correct  # the worker is up
        start = time.monotonic()
        verdicts = verifier.score_many([(response, asked) for response in responses])
        assert time.monotonic() - start < 2 * 2.0 + 20  # equal answers are judged once; the rest is a respawn
    assert [verdict.reason for verdict in verdicts] == ["timeout", "correct", "timeout", "wrong", "correct"]
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced():
    asked = problem("y+x")
    before = set(multiprocessing.active_children())
    with Verifier(timeout_s=30.0, workers=1) as verifier:
        assert verifier.score(r"\boxed{x+y}", asked).correct
        for worker in set(multiprocessing.active_children()) - before:
            os.kill(worker.pid, signal.SIGKILL)  # type: ignore[arg-type]
        time.sleep(0.5)
        assert verifier.score(r"\boxed{x+y+0}", asked).correct


def judge_alone(text: str, memory_bytes: int, cpu_seconds: float) -> subprocess.CompletedProcess[str]:
    """What a worker does with an answer, in a process without a parent that watches it."""
    script = (
        "from sgpo.problems.comparison import expect\n"
        "from sgpo.problems.judge import judge, prepare\n"
        f"prepare({memory_bytes})\n"
        f"print(judge(expect('5', 'q'), {text!r}, {cpu_seconds}))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)


@pytest.mark.slow
def test_an_answer_that_needs_more_memory_than_a_worker_has_is_said_to_have_crashed():
    assert judge_alone("2^{10^{10}}", memory_bytes=150 << 20, cpu_seconds=60.0).stdout == "crashed\n"


@pytest.mark.slow
def test_a_hanging_worker_ends_even_when_nobody_is_left_to_kill_it():
    assert judge_alone("9^{9^{9^{9^{9}}}}", memory_bytes=1 << 30, cpu_seconds=0.5).returncode == -signal.SIGXCPU


def test_text_and_digits_are_settled_without_any_worker():
    before = set(multiprocessing.active_children())
    with Verifier() as verifier:
        pairs = [(r"\boxed{12}", problem("12")), (r"\boxed{13}", problem("12")), (r"\boxed{(1,3)}", problem("(1,2)"))]
        assert [verdict.correct for verdict in verifier.score_many(pairs)] == [True, False, False]
        assert set(multiprocessing.active_children()) <= before


def test_a_closed_verifier_and_impossible_settings_are_refused():
    verifier = Verifier()
    with pytest.raises(VerifierError, match="with Verifier"):
        verifier.score(r"\boxed{1}", problem("1"))
    for wrong in ({"timeout_s": 0.0}, {"workers": 0}):
        with pytest.raises(ValueError, match="expected"):
            Verifier(**wrong)


def run(script: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    command = [sys.executable, str(tmp_path / "script.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)


SCORE = 'with Verifier(30, 1) as v: print(v.score("\\\\boxed{x+y}", Problem(question="q", answer="y+x")).reason)'


@pytest.mark.slow
def test_it_works_beside_torch_threads_and_keeps_torch_and_sympy_out_of_the_importing_process(tmp_path):
    result = run(
        "import sys\n"
        "from sgpo.problems import Problem, Verifier\n"
        "print([name for name in ('torch', 'sympy', 'pebble', 'pyarrow') if name in sys.modules])\n"
        "if __name__ == '__main__':\n"
        "    import torch\n"
        "    torch.set_num_threads(2)\n"
        "    torch.ones(500, 500) @ torch.ones(500, 500)\n"
        f"    {SCORE}\n",
        tmp_path,
    )
    # The script's first lines run again in the worker, as always with spawned processes.
    assert set(result.stdout.split("\n")) == {"[]", "correct", ""}, result.stderr


@pytest.mark.slow
def test_a_script_without_a_main_guard_is_told_what_it_needs(tmp_path):
    result = run(f"from sgpo.problems import Problem, Verifier\n{SCORE}\n", tmp_path)
    assert result.returncode != 0
    assert '(a script needs `if __name__ == "__main__":` around its main part)' in result.stderr
