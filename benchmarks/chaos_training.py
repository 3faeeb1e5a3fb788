"""Kill a training run again and again: it ends with the weights of the run that nothing happened to.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/chaos_training.py [--kills 50] [--processes 1] [--seed 0]

A short run on a tiny model (built on the spot) is the reference. Then runs are started, hit, and started again until
they end, until there were enough hits. A hit is drawn from: SIGKILL of all processes at a random time; SIGKILL while a
checkpoint is being written; SIGTERM; SIGKILL, and the newest checkpoint's shard cut in half; a disk that fills up (a
small tmpfs, where mounting is allowed). After every run: weights and rollouts byte for byte, every metric but the
clock's, and that each step has one row. Prints a Markdown table; exit code 1 when anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
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
from pathlib import Path

import psutil
import torch
from measure import add_json, write_figures

from sgpo.config.testbed import BaseModelConfig, WorldConfig
from sgpo.problems import write_problems
from sgpo.problems.table import write_table
from sgpo.strategies.schema import CRITERIA, Strategy
from sgpo.testbed.base_model import new_model, testbed_tokenizer
from sgpo.testbed.stories import read
from sgpo.testbed.strategies import describe
from sgpo.testbed.world import build_split
from sgpo.training.recovery.interruption import PREEMPTED

STEPS = 30
SETTINGS = (
    f"training.steps={STEPS}", "training.problems_per_step=6", "training.algorithm.autonomous_rollouts=3",
    "training.algorithm.guided_rollouts=2", "training.sampling.max_new_tokens=24", "training.checkpoint_every=1",
    "training.log_rollouts_every=1", "training.learning_rate=0.01", "training.algorithm.entropy_coefficient=0.1",
)  # fmt: skip
HITS = ("kill", "kill in a checkpoint", "terminate", "kill and cut a shard", "full disk")
DISK_KIB = 3000
NOT_WRITTEN = b": not written ("
ENDED = ": cannot be written ("


def main() -> int:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    add_json(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-training-") as name, disk(Path(name) / "disk") as small:
        world = World(Path(name), arguments.processes, random.Random(arguments.seed))
        world.build()
        reference, seconds = world.whole("reference")
        outcomes: Counter[str] = Counter()
        runs, differing = 0, []
        while sum(outcomes.values()) < arguments.kills:
            runs += 1
            folder = (Path(name) / "disk" if small else Path(name)) / f"run{runs}"
            left = arguments.kills - sum(outcomes.values())
            outcomes += world.hit_until_done(folder, left, small)
            if differences := compare(reference, folder):
                differing.append(f"run {runs}: {'; '.join(differences)}")
            subprocess.run(["rm", "-rf", str(folder)], check=True)
    print(f"\n{STEPS} steps, {arguments.processes} process(es), {seconds:.0f} s undisturbed; {runs} runs were hit:\n")
    print("| hit | times |\n|---|---|")
    for hit in HITS:
        print(f"| {hit} | {outcomes[hit]} |")
    print(f"| damaged checkpoints passed over at a start | {world.passed_over} |")
    print(f"| checkpoints that could not be written | {world.not_written} |")
    print(f"| runs that a full disk ended, in one line | {world.ended} |")
    print(f"| starts | {world.starts} |")
    print(f"\n{runs - len(differing)} of {runs} runs ended as the reference did, byte for byte.")
    for line in differing:
        print(f"- {line}")
    figures = {
        "hits": dict(outcomes), "runs": runs, "differing": len(differing), "starts": world.starts,
        "undisturbed_seconds": seconds, "passed_over": world.passed_over, "not_written": world.not_written,
    }  # fmt: skip
    write_figures(arguments.json, figures)
    return 1 if differing else 0


class World:
    """Model and data of the short run, and what was seen."""

    def __init__(self, folder: Path, processes: int, choose: random.Random) -> None:
        self.folder, self.processes, self.choose = folder, processes, choose
        self.starts = self.passed_over = self.not_written = self.ended = 0
        self.start_seconds = self.step_seconds = 0.0

    def build(self) -> None:
        """A tiny model, problems and strategies."""
        tokenizer = testbed_tokenizer()
        torch.manual_seed(0)
        new_model(BaseModelConfig(hidden_size=32, layers=2), tokenizer).save_pretrained(self.folder / "model")
        tokenizer.save_pretrained(self.folder / "model")
        problems = build_split(WorldConfig(train=24, held_out=8, tuning=4), "train")
        strategies = []
        for problem in problems:
            kind, approach, steps = describe(read(problem.question)[1], random.Random(problem.id))
            strategies.append(
                Strategy(
                    problem_id=problem.id, problem_type=kind, approach=approach, steps=steps, score=1.0,
                    scores=dict.fromkeys(CRITERIA, 1.0), teacher="none", prompt_version="none", candidates_seen=1,
                )
            )  # fmt: skip
        write_problems(problems, self.folder / "data" / "splits" / "train.parquet")
        write_table(strategies, self.folder / "data" / "strategies.parquet")

    def start(self, folder: Path) -> subprocess.Popen[bytes]:
        """`sgpo train`, as a flow starts it, output into `folder`.log."""
        self.starts += 1
        launcher = ["sgpo.training.launch", "--standalone", f"--nproc-per-node={self.processes}", "-m", "--"]
        command = [sys.executable, "-m", *(launcher if self.processes > 1 else []), "sgpo.cli", "train"]
        command += ["--model", str(self.folder / "model"), "--run", str(folder), f"data={self.folder / 'data'}"]
        command += [f"tracking.mlflow_uri=sqlite:///{self.folder}/mlflow.db", *SETTINGS]
        with self.log(folder).open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, env={**os.environ})

    def whole(self, name: str) -> tuple[Path, float]:
        """An undisturbed run: its folder, and seconds."""
        begun = time.monotonic()
        folder = self.folder / name
        process = self.start(folder)
        while process.poll() is None and b"step  " not in self.log(folder).read_bytes():
            time.sleep(0.01)
        self.start_seconds = time.monotonic() - begun
        if process.wait() != 0:
            raise SystemExit(self.log(folder).read_text()[-3000:])
        seconds = time.monotonic() - begun
        self.step_seconds = seconds - self.start_seconds
        return folder, seconds

    def hit_until_done(self, folder: Path, left: int, small_disk: bool) -> Counter[str]:
        """Start the run, hit it, start it again until it ends or `left` hits are spent; then let it end."""
        done: Counter[str] = Counter()
        while True:
            process = self.start(folder)
            hit = self.choose.choice(HITS if small_disk else HITS[:-1]) if sum(done.values()) < left else None
            code = self.live(process, folder, hit)
            if hit is not None and code != 0:
                done[hit] += 1
            text = self.log(folder).read_text(errors="replace")
            self.passed_over += text.count("passed over: ")
            self.not_written += text.count(NOT_WRITTEN.decode())
            self.ended += text.count(ENDED)
            if "Traceback" in text:
                raise SystemExit(f"a traceback after '{hit}':\n{text[-3000:]}")
            self.log(folder).unlink()
            if code == 0:
                return done
            if hit is None or code not in (PREEMPTED, -signal.SIGKILL, 128 + signal.SIGKILL, -signal.SIGTERM, 1):
                raise SystemExit(f"exit code {code}:\n{text[-3000:]}")

    def live(self, process: subprocess.Popen[bytes], folder: Path, hit: str | None) -> int:
        """One life of the run: its exit code."""
        ballast = folder.parent / "ballast"
        if hit is not None and self.choose.random() < 0.1:  # while it starts
            self.watch(process, self.choose.uniform(0.1, 1.0) * self.start_seconds)
        elif hit is not None:
            while process.poll() is None and b"step  " not in self.log(folder).read_bytes():
                time.sleep(0.01)
            self.watch(process, self.choose.uniform(0.0, 0.7) * self.step_seconds)
        if hit == "kill in a checkpoint":
            while process.poll() is None and not list(folder.glob("checkpoints/.step-*")):
                time.sleep(0.0005)
        if hit == "full disk" and process.poll() is None:
            with contextlib.suppress(OSError):
                ballast.write_bytes(bytes(DISK_KIB * 1024))
            # Until the run has said that a checkpoint could not be written, or has ended of it.
            self.watch(process, 5.0, until=NOT_WRITTEN, folder=folder)
            self.watch(process, self.choose.uniform(0.0, 0.5))
            kill_all(process)
            ballast.unlink(missing_ok=True)
        elif hit == "terminate":
            process.terminate()
        elif hit is not None:
            kill_all(process)
        code = process.wait()
        if hit == "kill and cut a shard" and code != 0:
            for newest in sorted(folder.glob("checkpoints/step-*"))[-1:]:
                shard = sorted(newest.glob("shard-*"))[0]
                shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
        return code

    def watch(
        self, process: subprocess.Popen[bytes], seconds: float, until: bytes | None = None, folder: Path = Path()
    ) -> None:
        """Until the time is over, or the run, or it has said `until`."""
        end = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < end:
            if until is not None and until in self.log(folder).read_bytes():
                return
            time.sleep(0.005)

    def log(self, folder: Path) -> Path:
        """What a run prints."""
        return self.folder / f"{folder.name}.log"


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for the run and all its processes."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid)
        for member in [*family.children(recursive=True), family]:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()


def compare(reference: Path, folder: Path) -> list[str]:
    """What differs between two runs, beyond the clock."""
    found = []
    for pattern in ("model/*", "rollouts/*"):
        ours, theirs = digests(folder, pattern), digests(reference, pattern)
        found += [name for name in sorted(ours.keys() | theirs.keys()) if ours.get(name) != theirs.get(name)]
    ours, theirs = rows(folder), rows(reference)
    if [row["step"] for row in ours] != list(range(STEPS)):
        found.append(f"steps {[row['step'] for row in ours]} in metrics.jsonl")
    elif ours != theirs:
        found.append("metrics.jsonl")
    return found


def digests(folder: Path, pattern: str) -> dict[str, str]:
    """sha256 of the files, by name."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob(pattern)}


def rows(folder: Path) -> list[dict[str, float]]:
    """Metrics without those that depend on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    clock = ("time", "throughput/")
    return [{key: value for key, value in line.items() if not key.startswith(clock)} for line in lines]


@contextmanager
def disk(folder: Path) -> Iterator[bool]:
    """A small file system at `folder`; False where mounting is not allowed."""
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", f"size={DISK_KIB}k", "tmpfs", str(folder)]
    if subprocess.run(options, capture_output=True, check=False).returncode != 0:
        print("no small disk: mounting is not allowed here", file=sys.stderr)
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", str(folder)], check=False)


if __name__ == "__main__":
    sys.exit(main())
