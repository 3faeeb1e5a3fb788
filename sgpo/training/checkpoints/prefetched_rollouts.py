"""Rollouts that were drawn ahead of a checkpoint: the continued run trains on them, as the uninterrupted one did."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

from sgpo.rollouts.schema import ProblemSamples

_LINE = TypeAdapter(ProblemSamples)


def write_rollouts(samples: Sequence[ProblemSamples], folder: Path, rank: int) -> None:
    """One JSON line for each problem of process `rank`."""
    lines = [_LINE.dump_json(one) + b"\n" for one in samples]
    (folder / f"rollouts-{rank + 1:05d}.jsonl").write_bytes(b"".join(lines))


def read_rollouts(folder: Path) -> list[ProblemSamples] | None:
    """Those of all processes; None when the checkpoint has none."""
    files = sorted(folder.glob("rollouts-*.jsonl"))
    if not files:
        return None
    return [_LINE.validate_json(line) for file in files for line in file.read_bytes().splitlines()]
