"""Strategy extraction against a teacher that fails all the time, killed again and again: nothing lost, nothing doubled.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/faulty_teacher.py [--problems 10000] [--kills 10] [--no-idempotency]

Two extractions (`sgpo strategies respond`, then `extract`) of the same problems: one against an endpoint without
faults, undisturbed; one against an endpoint of which 20 % of the requests fail in eight ways (`faulty_endpoint.py`),
killed at random moments (SIGKILL, every fourth time SIGTERM) and started again. The files must be the same bytes. The
endpoint's ledger tells what was billed. Prints Markdown; exit code 1 when something was lost or doubled.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml
from measure import add_json, write_figures

from sgpo.config.testbed import WorldConfig
from sgpo.problems import write_problems
from sgpo.testbed.world import build_split

FILES = ("responses.parquet", "responses_refused.jsonl", "strategies.parquet", "strategies_refused.jsonl")
STAGES = ("respond", "extract")
LOST_ANSWERS = ("late", "dropped after", "not JSON", "cut short")
"""Faults after an answer was generated: no client can know that it was."""


@dataclass
class Extraction:
    """What happened to one extraction."""

    folder: Path
    seconds: float = 0.0
    kills: int = 0
    sigkills: int = 0
    resident: list[tuple[float, int]] = field(default_factory=list)

    def digests(self) -> dict[str, str]:
        """sha256 of the files that the stages made."""
        return {name: hashlib.sha256((self.folder / "data" / name).read_bytes()).hexdigest() for name in FILES}

    def ledger(self) -> list[tuple[str, str, str]]:
        """(fault or "whole", whether it was billed, key) of every request."""
        lines = (self.folder / "ledger").read_text(encoding="utf-8").splitlines()
        return [tuple(line.split("\t")) for line in lines]  # type: ignore[misc]


def extract(folder: Path, problems: int, faults: float, kills: int, idempotent: bool, concurrency: int) -> Extraction:
    """Both stages in `folder`, killed `kills` times at moments spread over the expected length."""
    outcome, choose = Extraction(folder), random.Random(0)
    (folder / "data").mkdir(parents=True)
    write_problems(build_split(WorldConfig(train=problems), "train"), folder / "data" / "problems" / "train.parquet")
    with endpoint(folder / "ledger", faults, idempotent) as address:
        teacher = {
            "kind": "openai", "base_url": address, "model": "scripted-strong-model", "api_key_env": "",
            "concurrency": concurrency, "request_timeout_s": 1.5, "attempts": 30,
        }  # fmt: skip
        (folder / "params.yaml").write_text(yaml.safe_dump({"teacher": teacher}), encoding="utf-8")
        begun = time.monotonic()
        # A problem takes about one request in the first stage and six in the second.
        marks = sorted(choose.uniform(0.02, 0.98) * problems * 7.2 for _ in range(kills))
        for stage in STAGES:
            while True:
                process = start(folder, stage)
                mark = marks[0] if marks else None
                if watch(process, outcome, folder / ".sgpo" / "work" / "teacher.jsonl", mark):
                    marks.pop(0)
                    outcome.kills += 1
                    number = signal.SIGTERM if outcome.kills % 4 == 0 else signal.SIGKILL
                    outcome.sigkills += number == signal.SIGKILL
                    kill(process, number)
                elif process.returncode == 0:
                    break
                else:
                    raise SystemExit((folder / "log").read_text(encoding="utf-8", errors="replace")[-3000:])
        outcome.seconds = time.monotonic() - begun
    return outcome


@contextmanager
def endpoint(ledger: Path, faults: float, idempotent: bool) -> Iterator[str]:
    """The endpoint as a process of its own; yields its address."""
    command = [sys.executable, str(Path(__file__).with_name("faulty_endpoint.py")), str(ledger), f"--faults={faults}"]
    server = subprocess.Popen(
        [*command, *([] if idempotent else ["--no-idempotency"])], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.kill()
        server.wait()


def start(folder: Path, stage: str) -> subprocess.Popen[bytes]:
    """`sgpo strategies <stage>` in `folder`."""
    with (folder / "log").open("ab") as log:
        command = [sys.executable, "-m", "sgpo.cli", "strategies", stage]
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env={**os.environ})


def watch(process: subprocess.Popen[bytes], outcome: Extraction, journal: Path, mark: float | None) -> bool:
    """Until the process ends (False), or the journal has `mark` completions (True); keeps the resident memory."""
    family = psutil.Process(process.pid)
    lines, position, next_look = 0, 0, 0.0
    while process.poll() is None:
        if journal.is_file():
            with journal.open("rb") as file:
                file.seek(position)
                while block := file.read(2**20):
                    lines += block.count(b"\n")
                position = file.tell()
        if mark is not None and lines >= mark:
            return True
        if time.monotonic() > next_look:
            next_look = time.monotonic() + 0.5
            try:
                outcome.resident.append((lines, family.memory_info().rss))
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.01)
    return False


def kill(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """The process with its verifier's processes, or (SIGTERM) the process alone, which ends them."""
    descendants = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    process.wait()
    for descendant in descendants:
        if number == signal.SIGKILL and descendant.is_running():
            descendant.kill()


def again_after_whole(ledger: list[tuple[str, str, str]]) -> int:
    """Requests that came again although an answer to them had been given whole."""
    answered: set[str] = set()
    again = 0
    for what, _, key in ledger:
        again += key in answered
        if what == "whole":
            answered.add(key)
    return again


def billed_twice(ledger: list[tuple[str, str, str]]) -> tuple[int, int]:
    """(answers billed beyond the first of a request, how many of those because a fault took the one before)."""
    billed: dict[str, str] = {}
    beyond = by_fault = 0
    for what, bill, key in ledger:
        if bill != "billed":
            continue
        if key in billed:
            beyond += 1
            by_fault += billed[key] in LOST_ANSWERS
        billed[key] = what
    return beyond, by_fault


def main() -> int:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--faults", type=float, default=0.2)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--no-idempotency", action="store_true")
    add_json(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faulty-teacher-") as name:
        common = (not options.no_idempotency, options.concurrency)
        calm = extract(Path(name) / "calm", options.problems, 0.0, 0, *common)
        hit = extract(Path(name) / "hit", options.problems, options.faults, options.kills, *common)
        same = calm.digests() == hit.digests()
        calm_ledger, ledger = calm.ledger(), hit.ledger()
        lost = {key for _, _, key in calm_ledger} - {key for what, _, key in ledger if what == "whole"}
    beyond, by_fault = billed_twice(ledger)
    faults = Counter(what for what, _, _ in ledger)
    again = again_after_whole(ledger)
    print(f"| {options.problems:,} problems | undisturbed | faulty, killed {hit.kills} times |\n|---|---|---|")
    print(f"| requests that arrived | {len(calm_ledger):,} | {len(ledger):,} |")
    print(f"| of these failed | 0 | {len(ledger) - faults['whole']:,} ({1 - faults['whole'] / len(ledger):.1%}) |")
    print(f"| seconds | {calm.seconds:.0f} | {hit.seconds:.0f} |")
    print(f"| client's resident memory, first and last quarter, MiB | {memory(calm)} | {memory(hit)} |")
    print(f"| requests of the undisturbed run that were never answered | - | {len(lost)} |")
    print(f"| asked again although answered whole (under way at {hit.sigkills} SIGKILLs) | 0 | {again} |")
    print(f"| answers billed twice | {billed_twice(calm_ledger)[0]} | {beyond} |")
    print(f"| ... because the fault came after the answer was generated | 0 | {by_fault} |")
    print(f"| the four files are the same bytes | - | {'yes' if same else 'NO'} |")
    print("\n" + ", ".join(f"{kind} {count:,}" for kind, count in sorted(faults.items())) + ".")
    at_most = hit.sigkills * options.concurrency
    doubled = beyond if not options.no_idempotency else beyond - by_fault > at_most
    figures = {
        "problems": options.problems, "kills": hit.kills, "requests": [len(calm_ledger), len(ledger)],
        "seconds": [calm.seconds, hit.seconds], "lost": len(lost), "asked_again": again, "billed_twice": beyond,
        "billed_twice_by_fault": by_fault, "same_bytes": same,
    }  # fmt: skip
    write_figures(options.json, figures)
    return 1 if lost or doubled or not same or again > at_most else 0


def memory(outcome: Extraction) -> str:
    """The largest resident memory in the first and in the last quarter of all completions."""
    last = max(done for done, _ in outcome.resident)
    quarters = [
        [rss for done, rss in outcome.resident if low * last <= done <= (low + 0.25) * last] for low in (0, 0.75)
    ]
    return " and ".join(f"{max(quarter) / 2**20:.0f}" for quarter in quarters)


if __name__ == "__main__":
    sys.exit(main())
