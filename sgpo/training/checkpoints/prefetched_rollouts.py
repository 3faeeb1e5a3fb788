"""Rollouts that were drawn ahead of a checkpoint: the continued run trains on them, as the uninterrupted one did."""

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from pydantic import TypeAdapter

from sgpo.rollouts.schema import ProblemSamples

_LINE = TypeAdapter(ProblemSamples)


def write_rollouts(samples: Sequence[ProblemSamples], folder: Path, rank: int) -> None:
    """One JSON line for each problem of process `rank`."""
    lines = [_LINE.dump_json(one) + b"\n" for one in samples]
    (folder / f"rollouts-{rank + 1:05d}.jsonl").write_bytes(b"".join(lines))


def read_rollouts(folder: Path) -> list[ProblemSamples] | None:
    """Those of all processes, in the order of the step's problems; None when the checkpoint has none."""
    files = sorted(folder.glob("rollouts-*.jsonl"))
    if not files:
        return None
    shards = [[_LINE.validate_json(line) for line in file.read_bytes().splitlines()] for file in files]
    return [one for row in zip_longest(*shards) for one in row if one is not None]  # `World.shard` deals them out
