"""Change the equations and the methods on purpose, one small change at a time, and see that a test notices each.

    python benchmarks/mutate_method.py > docs/measured/mutations.md
    python benchmarks/mutate_method.py --only luffy

The changes are in benchmarks/mutants.yaml. Each is applied to a copy of the package, and the tests of its room
run against that copy until one fails. Prints a Markdown table; exit code 1 when a mutant survives.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml
from measure import add_json, write_figures

REPOSITORY = Path(__file__).resolve().parent.parent
TIME_LIMIT_S = 300
TESTS = {
    "objectives": ["objectives"], "vocabulary": ["vocabulary"], "algorithms": ["training/test_step.py"],
    "training": ["training/test_step.py"],
}  # fmt: skip
"""The tests that should notice, by room."""
NEEDED = ("objectives", "vocabulary", "training", "conftest.py", "tiny_testbed.py", "warm_python.py")


@dataclass(frozen=True)
class Mutant:
    """Every occurrence of `old` in sgpo/`file` becomes `new`; `what` says it in words."""

    equation: str
    what: str
    file: str
    old: str
    new: str


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="mutants whose words or file have this in them")
    add_json(parser)
    arguments = parser.parse_args()
    only = arguments.only.lower()
    rows = yaml.safe_load((Path(__file__).with_name("mutants.yaml")).read_text(encoding="utf-8"))
    mutants = [mutant for row in rows if only in f"{(mutant := Mutant(**row)).what} {mutant.file}".lower()]
    for room in sorted({mutant.file.split("/")[0] for mutant in mutants}):
        if (killer := run_tests(room, None)[0]) is not None:
            print(f"the unchanged code fails {killer}: nothing can be learnt from mutants", file=sys.stderr)
            return 2
    print("# Does a test notice each change to an equation?\n")
    print("`python benchmarks/mutate_method.py > docs/measured/mutations.md`; the unchanged code passes.")
    print(f"Each row is one change to a copy of `sgpo`, {len(mutants)} in all, and the first test that fails.\n")
    print("| Eq. | Change | File | Noticed by |\n|---|---|---|---|")
    survivors = 0
    for number, mutant in enumerate(mutants, 1):
        killer, seconds = run_tests(mutant.file.split("/")[0], mutant)
        survivors += killer is None
        verdict = f"`{killer}`" if killer else "**nothing**"
        print(f"| {mutant.equation} | {mutant.what} | {mutant.file} | {verdict} |", flush=True)
        print(f"{number}/{len(mutants)} {mutant.what}: {killer or 'SURVIVED'} ({seconds:.0f} s)", file=sys.stderr)
    print(f"\n{len(mutants) - survivors} of {len(mutants)} noticed.")
    write_figures(arguments.json, {"mutants": len(mutants), "survivors": survivors})
    return 1 if survivors else 0


def run_tests(room: str, mutant: Mutant | None) -> tuple[str | None, float]:
    """Return (the first failing test or None, seconds) of a copy of the package with the mutant in it."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / "sgpo", folder / "sgpo", ignore=ignored)
        for part in NEEDED:
            source, target = REPOSITORY / "tests" / part, folder / "tests" / part
            shutil.copytree(source, target, ignore=ignored) if source.is_dir() else shutil.copy(source, target)
        if mutant is not None:
            path = folder / "sgpo" / mutant.file
            code = path.read_text(encoding="utf-8")
            if mutant.old not in code:
                raise SystemExit(f"{mutant.file}: '{mutant.old}' is not there ('{mutant.what}' is out of date)")
            path.write_text(code.replace(mutant.old, mutant.new), encoding="utf-8")
        tests = [f"tests/{test}" for test in TESTS[room]]
        command = [sys.executable, "-m", "pytest", *tests, "-x", "-q", "--rootdir", ".", "-p", "no:cacheprovider"]
        environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        started = time.monotonic()
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"the time limit of {TIME_LIMIT_S} s", TIME_LIMIT_S
        seconds = time.monotonic() - started
    if done.returncode == 0:
        return None, seconds
    failed = re.search(r"^(?:FAILED|ERROR) tests/(\S+?)(?:\[.*)?(?: - .*)?$", done.stdout, re.MULTILINE)
    if failed is None:
        raise SystemExit(f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return failed[1], seconds


if __name__ == "__main__":
    sys.exit(main())
