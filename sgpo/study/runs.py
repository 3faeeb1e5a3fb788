"""Training and measuring the cells of a study: processes of their own, several at once, resumed where they were."""

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from statistics import fmean
from typing import Any

from sgpo.config import load_config
from sgpo.config.study import OWN, StudyConfig
from sgpo.evaluation.outcomes import outcome_of
from sgpo.evaluation.scores import Outcome, by_tier, mean_lenient, mean_reward, pass_at
from sgpo.jsonl import JsonlFile, number
from sgpo.progress import progress_bar
from sgpo.study.cells import Cell
from sgpo.study.jobs import Job, benchmarks_of, job_of, made_of, problems_of
from sgpo.study.processes import CellProcesses
from sgpo.study.results import Result, Results, StudyError
from sgpo.tracking.tracker import RunTracker

LAST_STEPS = 10


class StudyRunner:
    """Runs the cells of a study that its results do not have yet."""

    def __init__(self, study: StudyConfig, results: Results) -> None:
        """Take the study with its results so far."""
        self.study, self.results = study, results
        self._parent = study.runs / "study"
        self._processes = CellProcesses()
        self._lock, self._running = threading.Lock(), dict[Path, threading.Lock]()

    def missing(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return the cells without a result. Raises StudyError for a result that is of other data or settings.

        A cell whose learning rate is not known yet is missing: its tuning table stands before it.
        """
        return [cell for cell in cells if not self._is_done(cell)]

    def run(self, cells: Sequence[Cell]) -> None:
        """Run these cells, table by table, and add a line for each k as soon as a cell is done.

        The first cell that fails ends the study with StudyError, once those that run are done; what is done is kept. In
        MLflow the cells' runs are children of the study's, which has the results file.
        """
        tracking = load_config(self.study.recipe).tracking
        name = f"study {self.study.results.stem}"
        with RunTracker(self._parent, tracking, name=name) as tracker, self._processes:
            tracker.flush()  # the cells' runs find the database, the experiment and their parent, and make none
            for table in dict.fromkeys(cell.table for cell in cells):
                self._run_all(table, self.missing([cell for cell in cells if cell.table == table]))
            if self.study.results.is_file():
                tracker.log_artifact(self.study.results)

    def _run_all(self, table: str, cells: Sequence[Cell]) -> None:
        failure: StudyError | None = None
        with ThreadPoolExecutor(self.study.at_once) as pool, progress_bar(len(cells), table, 0, "cell") as bar:
            futures = [pool.submit(self._cell, cell) for cell in cells]
            try:
                for future in as_completed(futures):
                    if future.cancelled():
                        continue
                    try:
                        found = future.result()
                    except StudyError as error:
                        failure = failure or error
                        for waiting in futures:
                            waiting.cancel()
                        continue
                    for result in found:
                        self.results.add(result)
                    bar.update(1)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        if failure is not None:
            raise failure

    def _job(self, cell: Cell) -> Job:
        return job_of(self.study, self.results, cell)

    def _is_done(self, cell: Cell) -> bool:
        table = self.study.tables[cell.table]
        if table.rates_from is not None and not any(row.cell == cell.name for row in self.results.rows):
            return False
        job = self._job(cell)
        return all(
            self.results.has(cell.name, table.k, made_of(self.study, cell, job, benchmark), benchmark)
            for benchmark in benchmarks_of(self.study, cell)
        )

    def _cell(self, cell: Cell) -> list[Result]:
        """Train a cell's model and measure it; lines of benchmarks that were there before are left out.

        What another table's cell has measured of an equal run is taken from its lines.
        """
        job, table = self._job(cell), self.study.tables[cell.table]
        if known := self._measured_elsewhere(cell, job):
            return known
        self._train(job)
        rows = JsonlFile(job.folder / "metrics.jsonl").rows if job.train else []
        found = []
        for benchmark in benchmarks_of(self.study, cell):
            outcomes = self._measure(cell, job, benchmark)
            there = {row.k for row in self.results.rows if (row.cell, row.benchmark) == (cell.name, benchmark)}
            ks = [k for k in table.k if k not in there]
            found += [self._result(cell, job, benchmark, k, outcomes, rows) for k in ks]
        return found

    def _measured_elsewhere(self, cell: Cell, job: Job) -> list[Result]:
        """Return the cell's lines where cells of other tables have every one of them, else none."""
        table, found = self.study.tables[cell.table], list[Result]()
        for benchmark in benchmarks_of(self.study, cell):
            equal = {"made_of": made_of(self.study, cell, job, benchmark), "seed": cell.seed, "split": table.split}
            rows = self.results.of_another(cell.name, {**equal, "benchmark": benchmark}, table.k)
            if not rows or any(row.cell == cell.name and row.benchmark == benchmark for row in self.results.rows):
                return []
            names = {"cell": cell.name, "table": cell.table, "method": cell.method, "variant": cell.variant}
            found += [row.model_copy(update=names) for row in rows]
        return found

    def _measure(self, cell: Cell, job: Job, benchmark: str) -> list[Outcome]:
        """Return the outcomes of a job's model on a benchmark; two cells that need the same ones measure once."""
        table = self.study.tables[cell.table]
        output = job.folder / f"{table.split if benchmark == OWN else benchmark}-{max(table.k)}.jsonl"
        measured = [*job.settings, f"evaluation.k={max(table.k)}", "seed=0"]  # the same evaluation seeds for every run
        with self._lock_of(output):
            self._command(
                job.folder / f"evaluate-{output.stem}.log", "evaluate", "--model", str(job.model), "--output",
                str(output), "--config", str(self.study.recipe), "--problems",
                str(problems_of(self.study, cell, benchmark)), *measured,
            )  # fmt: skip
            return [outcome_of(row) for row in JsonlFile(output).rows[1:]]

    def _train(self, job: Job) -> None:
        """Train the job's model, after the one that it starts from; two cells that need the same one train it once."""
        if job.start is not None:
            self._train(job.start)
        job.folder.mkdir(parents=True, exist_ok=True)
        with self._lock_of(job.folder):
            if job.train and not (job.folder / "model" / "config.json").is_file():
                self._command(
                    job.folder / "train.log", "train", "--model", str(job.begins_from), "--run", str(job.folder),
                    "--parent", str(self._parent), "--config", str(self.study.recipe), *job.settings,
                )  # fmt: skip

    def _lock_of(self, path: Path) -> threading.Lock:
        with self._lock:
            return self._running.setdefault(path, threading.Lock())

    def _command(self, file: Path, *arguments: str) -> None:
        """Run an `sgpo` command with its output in `file`; StudyError has the last line of it where it fails."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        if code := self._processes.run([sys.executable, "-m", "sgpo.cli", *arguments], environment, file):
            said = [line for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
            raise StudyError(f"{file}: {said[-1] if said else f'exit code {code}'}")

    def _result(
        self, cell: Cell, job: Job, benchmark: str, k: int, outcomes: Sequence[Outcome],
        rows: Sequence[Mapping[str, Any]],
    ) -> Result:  # fmt: skip
        world, table = self.study.worlds[cell.world], self.study.tables[cell.table]
        first = [
            Outcome(one.problem_id, one.tier, one.rewards[:k], None if one.lenient is None else one.lenient[:k])
            for one in outcomes
        ]
        strict = fmean([mean_reward(one) for one in first])
        lenient = [mean_lenient(one) for one in first if one.lenient is not None]
        guided = [number(row["reward/guided"]) for row in rows[-LAST_STEPS:] if "reward/guided" in row]
        return Result(
            cell=cell.name, table=cell.table, world=cell.world, decisions=world.decisions, habit=world.habit,
            family=cell.family, method=cell.method, variant=cell.variant, settings=job.settings, seed=cell.seed,
            learning_rate=job.config.training.learning_rate if job.train else None, split=table.split,
            benchmark=benchmark, k=k, problems=len(first), avg=strict, strict=strict,
            lenient=fmean(lenient) if len(lenient) == len(first) else None,
            pass_=fmean([pass_at(sum(reward == 1.0 for reward in one.rewards), k, k) for one in first]),
            per_tier={tier: fmean([mean_reward(one) for one in group]) for tier, group in by_tier(first).items()},
            tokens=round(sum(map(_tokens, rows))),
            seconds=round(sum(map(_seconds, rows)), 1), guided_pass=fmean(guided) if guided else None, steps=len(rows),
            made_of=made_of(self.study, cell, job, benchmark),
        )  # fmt: skip


def _tokens(row: Mapping[str, Any]) -> float:
    """Return the tokens that were sampled for a step, with those of rollouts that a refill has dropped."""
    return number(row["throughput/tokens_per_second"]) * _seconds(row) + number(row.get("refill/tokens", 0.0))


def _seconds(row: Mapping[str, Any]) -> float:
    """Return the seconds of a step, as its tokens per second were computed."""
    return sum(number(value) for name, value in row.items() if name.startswith("time/"))
