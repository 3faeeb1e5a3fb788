"""The verifier of code: the response's last fenced block passes all tests of the problem, or it is wrong."""

from sgpo.problems.domains.code.cases import cases_of, returned
from sgpo.problems.domains.code.sandbox import Limits, check_sandbox, run_calls
from sgpo.problems.domains.fences import last_block
from sgpo.problems.responses import answer_part
from sgpo.problems.schema import Problem
from sgpo.problems.verifier import Verdict

LONGEST = 50_000
"""Characters of a program."""


class CodeVerifier:
    """Runs the program of a response against the problem's tests, in the sandbox; its score is the share that pass.

    Options are the program's limits: `seconds`, `memory_mb`, `files_mb`. Raises SandboxError where there is no sandbox.
    """

    def __init__(self, seconds: float = 4.0, memory_mb: int = 512, files_mb: int = 16) -> None:
        """Check that there is a sandbox before anything is judged."""
        self.limits = Limits(float(seconds), int(memory_mb), int(files_mb))
        check_sandbox()

    def __call__(self, response: str, problem: Problem) -> Verdict:
        """Return the verdict; a program that is killed, whatever for, is wrong."""
        cases = cases_of(problem)
        source = last_block(answer_part(response))
        if source is None:
            return Verdict(False, None, "no_answer")
        if len(source) > LONGEST or "\0" in source:
            return Verdict(False, source[:LONGEST], "unparsable")
        outcome = run_calls(source, [case.call for case in cases], self.limits)
        if outcome.state != "done":
            return Verdict(False, source, "wrong", 0.0)
        passed = sum(map(returned, outcome.values, (case.value for case in cases)))
        return Verdict(
            passed == len(cases), source, "correct" if passed == len(cases) else "wrong", passed / len(cases)
        )

    @staticmethod
    def present(problem: Problem) -> str:
        """Return the gold program as a response."""
        return f"```python\n{problem.answer}\n```"
