"""What grows with a team's use: time and peak memory at three sizes, and the exponent of the growth.

    .venv/bin/python benchmarks/growth.py [--only bank] [--bank 1000 10000 100000] [--extraction 300 1000 3000]
                                          [--retrainings 50 150 500] [--services 50 150 500]
                                          [--postgres ADDRESS] [--clock cpu] [--json FILE]

A bank of strategies made of random words (write, load, load with the leak check, list, index, retrieve, split);
problems of the testbed through responses and extraction with the scripted strong model; retrainings in MLflow; runs of
a flow in Prefect. Both services have SQLite, or databases of their own on the Postgres server at ADDRESS
(postgresql://user@host:port), which stay there. Every figure is taken in a process of its own, whose peak memory is
shown, with Prefect's server's. The exponent is the slope of log seconds over log size: 1 is linear. Folders are
temporary. `--clock cpu` counts the process's own seconds, which other work on the machine hardly changes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from clocks import CLOCKS
from growth_bank import bank_files, make_bank, words
from growth_retrainings import POSTGRES, one_more, page_of_runs, retraining_in_prefect, show

Work = Callable[[], object]
Measure = Callable[[int, Path], Work]
"""(size, folder) -> what is timed; what is done before it, imports and inputs, is not."""


def bank_write(size: int, folder: Path) -> Work:
    """Strategies to Parquet."""
    from sgpo.problems.table import write_table

    bank_files(size, folder)
    strategies = make_bank(size, folder)[1]
    return lambda: write_table(strategies, folder / "again.parquet")


def bank_load(size: int, folder: Path) -> Work:
    """Strategies from Parquet, as `sgpo strategies list` loads them."""
    from sgpo.strategies.bank import load_strategies

    path = bank_files(size, folder) / "strategies.parquet"
    return lambda: load_strategies(path)


def bank_load_checked(size: int, folder: Path) -> Work:
    """Strategies with the leak check, as training loads them."""
    from sgpo.problems import read_problems
    from sgpo.strategies.bank import load_strategies

    data = bank_files(size, folder)
    problems = read_problems(data / "problems" / "train.parquet")
    return lambda: load_strategies(data / "strategies.parquet", problems)


def bank_list(size: int, folder: Path) -> Work:
    """The best twenty with a word."""
    from sgpo.strategies.view.listing import list_strategies

    strategies = bank_load(size, folder)()
    return lambda: list_strategies(strategies, text="aaah", limit=20)  # type: ignore[arg-type]


def bank_families(size: int, folder: Path) -> Work:
    """The families of `sgpo strategies families`, where steps differ from strategy to strategy."""
    from sgpo.strategies.view.families import find_families

    find_families(make_bank(200, folder)[1])  # imports scikit-learn
    strategies = bank_load(size, folder)()
    return lambda: find_families(strategies.values())  # type: ignore[attr-defined]


def bank_index(size: int, folder: Path) -> Work:
    """The index of `sgpo strategies retrieve`."""
    from sgpo.problems import read_problems
    from sgpo.strategies.view.retrieval import StrategyIndex

    few, theirs = make_bank(200, folder)
    StrategyIndex(few, {one.problem_id: one for one in theirs})  # imports scikit-learn
    problems = read_problems(bank_files(size, folder) / "problems" / "train.parquet")
    strategies = bank_load(size, folder)()
    return lambda: StrategyIndex(problems, strategies)  # type: ignore[arg-type]


def bank_retrieve(size: int, folder: Path) -> Work:
    """A hundred questions to a built index."""
    draw, index = random.Random(1), bank_index(size, folder)()
    questions = [words(draw, 40) for _ in range(100)]
    return lambda: index.nearest(questions)  # type: ignore[attr-defined]


def bank_split(size: int, folder: Path) -> Work:
    """`sgpo split`, leak check included."""
    from sgpo.config.pipeline import load_params
    from sgpo.pipeline.splits import split

    data, params = bank_files(size, folder), load_params(Path("params.yaml"))
    params = params.model_copy(update={"splits": params.splits.model_copy(update={"min_lift": 0.1})})
    return lambda: split(params, data)


def _world(size: int, folder: Path) -> tuple[Any, Path]:
    from sgpo.config.pipeline import load_params
    from sgpo.pipeline import stages

    params, data = load_params(Path("params.yaml")), folder / f"world-{size}"
    params = params.model_copy(update={"world": params.world.model_copy(update={"train": size})})
    if not data.exists():
        stages.build_world(params, data)
    return params, data


def extraction_respond(size: int, folder: Path) -> Work:
    """`sgpo strategies respond`: answers of the scripted strong model, verified and journalled."""
    from sgpo.pipeline import stages

    params, data = _world(size, folder)
    return lambda: stages.respond(params, data, folder / f"work-{size}")


def extraction_extract(size: int, folder: Path) -> Work:
    """`sgpo strategies extract`: five candidates for each response, ranked, checked and journalled."""
    from sgpo.pipeline import stages

    params, data = _world(size, folder)
    return lambda: stages.extract(params, data, folder / f"work-{size}")


GROUPS: dict[str, dict[str, Measure]] = {
    "bank": {
        "write": bank_write, "load": bank_load, "load, leaks checked": bank_load_checked, "list": bank_list,
        "families": bank_families, "index": bank_index, "retrieve 100": bank_retrieve, "split": bank_split,
    },
    "extraction": {"respond": extraction_respond, "extract": extraction_extract},
    "retrainings": {"one more": one_more, "show": show},
    "services": {"one more run": retraining_in_prefect, "the page of runs": page_of_runs},
}  # fmt: skip
GOAL = {"bank": 1_000_000, "extraction": 100_000, "retrainings": 500, "services": 500}


def peak_mib() -> float:
    """Return the most memory that this process has held, with what servers that it has started hold now, MiB."""
    servers = sum(child.memory_info().rss for child in psutil.Process().children(recursive=True))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 + servers / 2**20


def measure(group: str, name: str, size: int, folder: Path, clock: Callable[[], float]) -> None:
    """Print seconds and extra peak memory of one figure; this is the process of its own."""
    with redirect_stdout(StringIO()):
        work = GROUPS[group][name](size, folder)
        before, begun = peak_mib(), clock()
        work()
        seconds = clock() - begun
    print(json.dumps({"seconds": seconds, "extra_mib": peak_mib() - before, "peak_mib": peak_mib()}))


def exponent(sizes: list[int], values: list[float]) -> float:
    """Return the slope of log value over log size."""
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-6)), 1)[0])


def main() -> None:
    """Measure every figure at its sizes, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--bank", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--extraction", type=int, nargs="+", default=[300, 1_000, 3_000])
    parser.add_argument("--retrainings", type=int, nargs="+", default=[50, 150, 500])
    parser.add_argument("--services", type=int, nargs="+", default=[50, 150, 500])
    parser.add_argument("--postgres", metavar="ADDRESS", help="Postgres server for retrainings and services")
    parser.add_argument("--json", type=Path, help="File for the figures")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: the process's own seconds")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        group, name, size, folder = arguments.measure
        measure(group, name, int(size), Path(folder), CLOCKS[arguments.clock])
        return
    if arguments.postgres:
        os.environ[POSTGRES] = arguments.postgres
    rows = []
    print("| what | sizes | seconds | peak MiB | exponent of seconds | at | seconds there |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for group in arguments.only:
            sizes = getattr(arguments, group)
            for name in GROUPS[group]:
                found = [_in_a_process(group, name, size, folder, arguments.clock) for size in sizes]
                slope = exponent(sizes, [one["seconds"] for one in found])
                there = found[-1]["seconds"] * (GOAL[group] / sizes[-1]) ** slope
                rows.append({"group": group, "what": name, "sizes": sizes, "found": found, "exponent": slope,
                             "goal": GOAL[group], "seconds_at_goal": there})  # fmt: skip
                lists = ([f"{size:,}" for size in sizes], [f"{one['seconds']:.3g}" for one in found],
                         [f"{one['peak_mib']:.0f}" for one in found])  # fmt: skip
                columns = (
                    f"{group}: {name}",
                    *map(", ".join, lists),
                    f"{slope:.2f}",
                    f"{GOAL[group]:,}",
                    f"{there:.3g}",
                )
                print(f"| {' | '.join(columns)} |", flush=True)
                if arguments.json:
                    from measure import write_figures  # which imports torch: not in the processes that are measured

                    write_figures(arguments.json, {"rows": rows})


def _in_a_process(group: str, name: str, size: int, folder: str, clock: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--clock", clock, "--measure", group, name, str(size), folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{group} {name} at {size}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
