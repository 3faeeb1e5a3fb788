"""Two changes of the champion at once, or one killed in the middle: is there always exactly one, and a whole record?

Two processes of their own, on one SQLite registry, are let go at the same moment: promotions that were measured against
the same champion, promotions without that condition, a promotion beside a roll-back, beside a person's choice. A third
process reads all the time. Then one of two is killed with SIGKILL: right after its n-th write (every n there is), or at
a random moment; the other goes on, and so does a third that comes later. After every round the aliases and the record
are held against what the processes answered.

`.venv/bin/python benchmarks/promotions.py [--rounds 100] [--kills 90]` prints a table; exit code 1 for a broken rule.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from safetensors.numpy import save_file
from tqdm import tqdm

from sgpo.config import TrackingConfig
from sgpo.registry import (
    ChampionChange,
    Decision,
    aliases,
    history,
    promote,
    register_model_folder,
    roll_back,
    set_challenger,
    set_champion,
)
from sgpo.registry.records import gaps
from sgpo.registry.store import open_registry

YES = Decision(promote=True, reasons=("It is better.",))
WRITES = (
    "set_registered_model_tag",
    "set_registered_model_alias",
    "set_model_version_tag",
    "delete_registered_model_alias",
    "delete_registered_model_tag",
)
WRITES_OF_A_PROMOTION = 7
KINDS = ("against the same champion", "without that condition", "beside a roll-back", "beside a person's choice")
SPAWN = multiprocessing.get_context("spawn")


class Order(NamedTuple):
    """What a process is to do; `die_after` writes it kills itself, 0: never."""

    action: str
    version: str
    against: str | None = None
    who: str = ""
    die_after: int = 0


def carry_out(tracking: TrackingConfig, order: Order) -> ChampionChange:
    """One change of the champion."""
    if order.action == "promote":
        return promote(tracking, order.version, YES, order.who, "race", against=order.against)
    if order.action == "roll_back":
        return roll_back(tracking, order.who, "race")
    return set_champion(tracking, order.version, order.who, "race")


def worker(tracking: TrackingConfig, channel: Connection) -> None:
    """Do as ordered, at the moment given; answers what was done."""
    aliases(tracking)  # MLflow is imported and the database open
    channel.send("ready")
    while (message := channel.recv()) is not None:
        order, start = message
        if order.die_after:
            die_after(order.die_after)
        time.sleep(max(0.0, start - time.time()))
        channel.send(carry_out(tracking, order))


def die_after(writes: int) -> None:
    """From now on, this process is killed when it has written so many times to the registry."""
    from mlflow import MlflowClient

    done = 0
    for name in WRITES:
        original = getattr(MlflowClient, name)

        def counted(self, *arguments, _original=original, **named):
            nonlocal done
            result = _original(self, *arguments, **named)
            done += 1
            if done == writes:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(MlflowClient, name, counted)


def reader(tracking: TrackingConfig, seen: Connection, stop: Event) -> None:
    """Read aliases all the time; answers which (champion, previous) there were, in their order."""
    pairs: list[tuple[str | None, str | None]] = []
    reads = 0
    while not stop.is_set():
        now = aliases(tracking)
        reads += 1
        if not pairs or pairs[-1] != (now.get("champion"), now.get("previous")):
            pairs.append((now.get("champion"), now.get("previous")))
    seen.send((reads, pairs))


class Worker:
    """A process that waits for orders."""

    def __init__(self, tracking: TrackingConfig) -> None:
        self.channel, theirs = SPAWN.Pipe()
        self.process: SpawnProcess = SPAWN.Process(target=worker, args=(tracking, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def order(self, order: Order, start: float) -> None:
        """Have it do something at the time `start`."""
        self.channel.send((order, start))

    def answer(self) -> ChampionChange | None:
        """What was done; None when it was killed."""
        try:
            return self.channel.recv()
        except (EOFError, ConnectionResetError):
            return None


def new_registry(folder: Path, versions: int) -> TrackingConfig:
    """A registry with so many versions of one small model; the first is the champion."""
    import json

    model = folder / "model"
    model.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (model / name).write_text(json.dumps({"model_type": "qwen2"}), encoding="utf-8")
    save_file({"weight": np.zeros(1, dtype=np.float32)}, model / "model.safetensors")
    tracking = TrackingConfig(mlflow_uri=f"sqlite:///{folder}/mlflow.db", artifact_root=str(folder / "artifacts"))
    for number in range(versions):
        register_model_folder(tracking, model, {}, f"run-{number}")
    set_champion(tracking, "1", "the benchmark", "the first")
    set_champion(tracking, "2", "the benchmark", "the second")
    return tracking


def broken_rules(tracking: TrackingConfig, before: list[ChampionChange], answers: list[ChampionChange]) -> list[str]:
    """What is not as it must be after a round, given the record before it and what the processes answered."""
    now, record = aliases(tracking), history(tracking)
    broken = gaps(record, now.get("champion"))
    if record[: len(before)] != before:
        broken.append("an earlier decision was changed")
    added = Counter(decision.model_dump_json() for decision in record[len(before) :])
    broken += [f"recorded {count} times: {decision}" for decision, count in added.items() if count != 1]
    for answer in answers:
        if answer.action != "unchanged" and answer.model_dump_json() not in added:
            broken.append(f"answered but not recorded: {answer.describe()}")
    moves = [decision for decision in record if decision.before != decision.after]
    if moves and now.get("previous") != moves[-1].before:
        broken.append(f"previous is {now.get('previous')} (expected {moves[-1].before})")
    with open_registry(tracking, write=False) as client:
        stored = client.get_registered_model(tracking.registered_model)
    if "sgpo.pending" in stored.tags or {str(at) for at in stored.aliases.values()} != set(now.values()):
        broken.append("a change was left half done")
    return broken


def orders_of(kind: str, champion: str, free: list[str]) -> tuple[Order, Order]:
    """Two orders that get in each other's way."""
    against = champion if kind == KINDS[0] else None
    first = Order("promote", free[0], against, "ann")
    if kind == KINDS[2]:
        return first, Order("roll_back", "", None, "bob")
    return first, Order("set_champion" if kind == KINDS[3] else "promote", free[1], against, "bob")


def race(tracking: TrackingConfig, rounds: int) -> tuple[dict[str, Counter[str]], list[str]]:
    """Two orders at the same moment, of each kind many times: answers by kind, and the broken rules."""
    kinds = [KINDS[0]] * rounds + [kind for kind in KINDS[1:] for _ in range(rounds // 5)]
    answers: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    broken: list[str] = []
    workers = [Worker(tracking), Worker(tracking)]
    for one in workers:
        one.channel.recv()
    for number, kind in enumerate(tqdm(kinds, desc="races", file=sys.stderr, disable=None)):
        before, champion = history(tracking), aliases(tracking)["champion"]
        free = [str(version) for version in range(1, 7) if str(version) != champion]
        random.shuffle(free)
        set_challenger(tracking, free[0])
        start = time.time() + 0.05
        for one, order in zip(workers, orders_of(kind, champion, free), strict=True):
            one.order(order, start)
        done = [answer for one in workers if (answer := one.answer())]
        if kind == KINDS[0] and sorted(answer.action for answer in done) != ["promote", "refuse"]:
            broken.append(f"race {number}: {[answer.action for answer in done]}")
        answers[kind][" + ".join(sorted(answer.action for answer in done))] += 1
        broken += [f"race {number}, {kind}: {rule}" for rule in broken_rules(tracking, before, done)]
    for one in workers:
        one.channel.send(None)
        one.process.join()
    return answers, broken


def kill(tracking: TrackingConfig, kills: int) -> tuple[Counter[str], list[str]]:
    """One of two promotions killed, `kills` times; what became of it, and the broken rules."""
    fates: Counter[str] = Counter()
    broken: list[str] = []
    spare = [Worker(tracking)]
    survivor = Worker(tracking)
    survivor.channel.recv()
    for number in tqdm(range(kills), desc="kills", file=sys.stderr, disable=None):
        victim = spare.pop()
        victim.channel.recv()
        spare.append(Worker(tracking))  # made ready meanwhile
        before, champion = history(tracking), aliases(tracking)["champion"]
        free = [str(version) for version in range(1, 7) if str(version) != champion]
        set_challenger(tracking, free[0])
        die_after_writes = number % (WRITES_OF_A_PROMOTION + 2)  # 0: at a random moment
        start = time.time() + 0.05
        victim.order(Order("promote", free[0], None, "the killed one", die_after_writes), start)
        survivor.order(Order("promote", free[1], None, "the survivor"), start + random.uniform(0.0, 0.1))
        if die_after_writes in (0, WRITES_OF_A_PROMOTION + 1):
            time.sleep(0.05 + random.uniform(0.0, 1.5))
            victim.process.kill()
        done = [answer for answer in (survivor.answer(), victim.answer()) if answer]
        victim.process.join()
        # Whoever comes next finds nothing half done: the survivor may have been before the killed one.
        done.append(set_champion(tracking, free[2], "the next one", f"after kill {number}"))
        happened = [decision for decision in history(tracking)[len(before) :] if decision.who == "the killed one"]
        fates["done and recorded once" if len(happened) == 1 else f"recorded {len(happened)} times"] += 1
        broken += [f"kill {number}: {rule}" for rule in broken_rules(tracking, before, done)]
    for one in (survivor, spare[0]):
        one.process.kill()
        one.process.join()
    return fates, broken


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Two promotions at once; a fifth of it of each other kind")] = 100,
    kills: Annotated[int, typer.Option(min=0, help="Promotions that are killed")] = 90,
    json: Annotated[Path | None, typer.Option(help="Write the figures there")] = None,
) -> None:
    """Race, kill, and print what came of it."""
    random.seed(0)
    with tempfile.TemporaryDirectory() as folder:
        tracking = new_registry(Path(folder), 6)
        ours, theirs = SPAWN.Pipe()
        stop = SPAWN.Event()
        watching = SPAWN.Process(target=reader, args=(tracking, theirs, stop), daemon=True)
        watching.start()
        answers, broken = race(tracking, rounds)
        stop.set()
        reads, pairs = ours.recv()
        watching.join()
        decisions = history(tracking)
        moves = [decision for decision in decisions if decision.before != decision.after]
        states = {(decision.after, decision.before) for decision in moves}
        broken += [f"a reader saw champion and previous {pair}" for pair in pairs if pair not in states]
        fates, broken_by_kills = kill(tracking, kills)
        broken += broken_by_kills
        decisions = history(tracking)
    print("| two at once | rounds | what they answered |\n|---|---|---|")
    for kind, counts in answers.items():
        print(f"| promotions {kind} | {counts.total()} | {', '.join(f'{what}: {n}' for what, n in counts.items())} |")
    print(f"| a promotion killed with SIGKILL | {kills} | {', '.join(f'{what}: {n}' for what, n in fates.items())} |")
    print(f"\n{reads} reads meanwhile saw {len(pairs)} states; {len(decisions)} decisions in the record.")
    print(f"Broken rules: {len(broken)}")
    print("\n".join(broken[:20]))
    from measure import write_figures  # the processes that race start faster without torch

    counts = {kind: dict(answered) for kind, answered in answers.items()}
    write_figures(json, {"answers": counts, "kills": dict(fates), "reads": reads, "broken": len(broken)})
    sys.exit(bool(broken))


if __name__ == "__main__":
    typer.run(main)
