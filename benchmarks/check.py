"""Compare the quick benchmarks with benchmarks/baselines.json, and say what got worse by more than 10 %.

    make bench-check                                        # before a release, on a quiet machine; about five minutes
    .venv/bin/python benchmarks/check.py --only step        # commands with this in them
    .venv/bin/python benchmarks/check.py --update           # measure, and write new baselines

Every baseline is a number of a benchmark's `--json` file that compares two things of one run, so that another machine
has about the same; `key` says where, dotted. Noise of single runs is up to a tenth: a command whose figure seems
worse is run again, up to three times, and the best counts. Exit code 1 when a figure stays worse. Never run in CI:
machines there are shared.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sgpo.files import write_json

BASELINES = Path(__file__).with_name("baselines.json")
TOLERANCE = 0.10
RUNS = 3


@dataclass(frozen=True, slots=True)
class Baseline:
    """A figure of a command, its value when it was written down, and the machine's product rate in that run."""

    name: str
    value: float | None
    direction: Literal["higher is better", "lower is better"]
    command: str
    key: str
    product_rate: float | None = None
    date: str | None = None

    def change(self, value: float) -> float:
        """Return by what fraction `value` is better than the baseline; negative where it is worse."""
        if self.value is None:
            return 0.0
        ratio = value / self.value
        return ratio - 1.0 if self.direction == "higher is better" else 1.0 - ratio

    def better(self, one: float, other: float) -> float:
        """Return the better of two values."""
        return max(one, other) if self.direction == "higher is better" else min(one, other)


def read_baselines(path: Path) -> list[Baseline]:
    """Read the file; ValueError names the row that is not a baseline."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    baselines: list[Baseline] = []
    for number, row in enumerate(rows, 1):
        try:
            baseline = Baseline(**row)
        except TypeError as error:
            raise ValueError(f"{path} row {number}: {error} (expected the fields of Baseline)") from None
        if baseline.direction not in ("higher is better", "lower is better"):
            raise ValueError(
                f"{path} row {number}: 'direction' is '{baseline.direction}' "
                "(expected 'higher is better' or 'lower is better')"
            )
        baselines.append(baseline)
    return baselines


def figure(figures: Mapping[str, Any], key: str) -> float:
    """Return the number at a dotted key; ValueError when there is none."""
    value: Any = figures
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if not isinstance(value, int | float):
        raise ValueError(f"no number at '{key}' (expected a key of the benchmark's --json file)")
    return float(value)


def run(command: str) -> dict[str, Any]:
    """Run a benchmark script with arguments, one thread, and return its figures; its failure is this one's."""
    script, *arguments = shlex.split(command)
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        whole = [sys.executable, str(BASELINES.parent / script), *arguments, "--json", str(file)]
        done = subprocess.run(whole, env={**os.environ, **threads}, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not file.exists():
            raise SystemExit(f"{command}: exit code {done.returncode}\n{done.stderr[-2000:]}")
        return json.loads(file.read_text(encoding="utf-8"))


def measure(baselines: Sequence[Baseline], runs: int, until_good: bool) -> dict[str, tuple[float, float]]:
    """Return (value, product rate) by name, the best of the runs; `until_good` stops when nothing seems worse."""
    best: dict[str, tuple[float, float]] = {}
    for command in dict.fromkeys(baseline.command for baseline in baselines):
        mine = [baseline for baseline in baselines if baseline.command == command]
        for _ in range(runs):
            print(command, flush=True)
            figures = run(command)
            for baseline in mine:
                value = figure(figures, baseline.key)
                before = best.get(baseline.name, (value, 0.0))[0]
                best[baseline.name] = baseline.better(before, value), figures["product_rate"]
            if until_good and not any(is_worse(baseline, best[baseline.name][0]) for baseline in mine):
                break
    return best


def is_worse(baseline: Baseline, value: float) -> bool:
    """Return whether the value is worse than the baseline by more than the tolerance."""
    return baseline.change(value) < -TOLERANCE


def main() -> int:
    """Measure, print the table, and return 1 when something got worse."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="write what is measured as the new baselines")
    parser.add_argument("--runs", type=int, default=RUNS, help="most runs of a command; with --update each has so many")
    parser.add_argument("--only", default="", help="commands that have this in them")
    parser.add_argument("--baselines", type=Path, default=BASELINES, metavar="FILE")
    arguments = parser.parse_args()
    baselines = read_baselines(arguments.baselines)
    chosen = [baseline for baseline in baselines if arguments.only in baseline.command]
    measured = measure(chosen, arguments.runs, until_good=not arguments.update)
    print("\n| figure | baseline | now | change | |\n|---|---|---|---|---|")
    worse = 0
    for baseline in chosen:
        value, change = measured[baseline.name][0], baseline.change(measured[baseline.name][0])
        worse += is_worse(baseline, value)
        was = "-" if baseline.value is None else f"{baseline.value:.3g}"
        word = "WORSE" if is_worse(baseline, value) else ""
        print(f"| {baseline.name}, {baseline.direction} | {was} | {value:.3g} | {change:+.0%} | {word} |")
    if arguments.update:
        today = datetime.now(UTC).date().isoformat()
        updated = [
            replace(b, value=measured[b.name][0], product_rate=measured[b.name][1], date=today) if b in chosen else b
            for b in baselines
        ]
        write_json(arguments.baselines, [asdict(baseline) for baseline in updated])
        return 0
    print(f"\n{worse} of {len(chosen)} figures are worse by more than {TOLERANCE:.0%}.")
    return int(worse > 0)


if __name__ == "__main__":
    sys.exit(main())
