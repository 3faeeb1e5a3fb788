"""Checkpoints: everything to resume exactly, written aside and published by one rename, with checksums.

A checkpoint is a folder `step-000040` with the shards of every process (safetensors), state.json and manifest.json
(sha256 of the others, written last). One that does not match its manifest is never loaded. Any number of processes can
go on from it, whatever the number that wrote it. Frozen weights are not in it, only their sha256.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch.distributed as dist

from sgpo.files import file_sha256, replace_folder, write_json
from sgpo.rollouts.schema import ProblemSamples
from sgpo.training.checkpoints.collectives import CheckpointError, gathered, on_every_process, rank
from sgpo.training.checkpoints.kept import kept, ranked, score_of
from sgpo.training.checkpoints.prefetched_rollouts import read_rollouts, write_rollouts
from sgpo.training.checkpoints.sharded_state import Optimizers, Tensors, collect, hyperparameters, read, staged, write
from sgpo.training.policy import Policy
from sgpo.training.world import World

MANIFEST = "manifest.json"
ROLLOUTS = "rollouts"
"""Key of what `load_checkpoint` returns: rollouts that were drawn ahead for the next step, of all processes."""
_TIME_LIMIT = timedelta(minutes=30)
_BASE = "base"


def save_checkpoint(
    folder: Path, policy: Policy, optimizers: Optimizers, state: Mapping[str, Any], keep: int, world: World
) -> Path:
    """Save under `folder`/step-N where N is state["step"], and delete all but the newest `keep` and the best.

    Every process calls this, and each writes its own shards. Raises CheckpointError on all when one cannot.
    """
    contents = collect(policy, optimizers), hyperparameters(optimizers), _with_base(state, policy)
    return _publish(folder, *contents, keep=keep, main=world.is_main)


class BackgroundCheckpoints:
    """Checkpoints that are written while training goes on; a context manager that waits for the last one.

    Every process makes one and calls it in the same order. A checkpoint that could not be written (a full disk) costs
    a message and is counted in `failed`: the ones before it stay, and training goes on.
    """

    def __init__(
        self,
        folder: Path,
        keep: int,
        world: World,
        newest_step: int = 0,
        on_published: Callable[[Path], None] | None = None,
    ) -> None:
        self._folder, self._keep, self._world, self._on_published = folder, keep, world, on_published
        # A group of its own: its collectives run beside those of the training thread.
        self._group: Any = dist.new_group(backend="gloo", timeout=_TIME_LIMIT) if world.size > 1 else None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[Path] | None = None
        self.failed = 0
        self.newest_step = self._published_step = newest_step
        """The step of the newest checkpoint that is written, or under way, or was found at the start."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wait()
        self._thread.shutdown()

    def save(
        self,
        policy: Policy,
        optimizers: Optimizers,
        state: Mapping[str, Any],
        drawn: Sequence[ProblemSamples] | None = None,
        guide: Tensors | None = None,
    ) -> None:
        """Copy the state to main memory and return; one checkpoint is written at a time.

        `drawn`: what this process has drawn ahead for the next step. `guide`: what the guide keeps of its own.
        """
        self.wait()
        self.newest_step = state["step"]
        tensors, settings = staged(collect(policy, optimizers, guide)), hyperparameters(optimizers)
        self._pending = self._thread.submit(
            _publish, self._folder, tensors, settings, _with_base(state, policy), keep=self._keep,
            main=self._world.is_main, group=self._group, on_published=self._on_published, drawn=drawn,
        )  # fmt: skip

    def wait(self) -> None:
        """Until the checkpoint under way, if any, is published or given up."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        try:
            pending.result()
            self._published_step = self.newest_step
        except CheckpointError as error:
            self.failed += 1
            self.newest_step = self._published_step
            if self._world.is_main:
                print(f"warning: {error}; the checkpoints before it stay", flush=True)


def load_checkpoint(
    folder: Path, policy: Policy, optimizers: Optimizers, guide: Tensors | None = None
) -> dict[str, Any] | None:
    """Load the newest whole checkpoint under `folder` into policy, optimisers and guide; None when there is none.

    A damaged one is passed over with a message, and the one before it is taken. Every process calls this.
    """
    newest = newest_checkpoint(folder)
    if newest is None:
        return None
    state = _read(newest, policy, optimizers, guide)
    drawn = read_rollouts(newest)
    return state if drawn is None else {**state, ROLLOUTS: drawn}


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint under `folder` whose files match its manifest; all processes agree on it."""
    return _first_whole(folder, [path.name for path in reversed(_steps(folder))])


def best_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint with the best score, of equal ones the first, as `newest_checkpoint`; None without any."""
    return _first_whole(folder, ranked({path.name: score_of(path) for path in _steps(folder)}))


def checkpoint_of_step(folder: Path, step: int) -> Path:
    """Return the checkpoint of a step; CheckpointError where there is none, or it is not whole."""
    steps = {int(path.name.removeprefix("step-")): path for path in _steps(folder)}
    if step not in steps:
        known = ", ".join(map(str, steps)) or "none is there"
        raise CheckpointError(f"{folder}: no checkpoint of step {step} (expected one of: {known})")
    verify_checkpoint(steps[step])
    return steps[step]


def load_weights(checkpoint: Path, policy: Policy) -> None:
    """Load what was trained of the policy from a whole checkpoint, and nothing else; collective.

    Raises CheckpointError where it is of another model.
    """
    _read(checkpoint, policy, None)


def _read(
    checkpoint: Path, policy: Policy, optimizers: Optimizers | None, guide: Tensors | None = None
) -> dict[str, Any]:
    """Fill policy, optimisers and guide, and return the state; CheckpointError where it is of another model."""
    state = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    base, groups = state.pop(_BASE, None), state.pop("optimizer_groups")
    if policy.base is not None and base is not None and base["sha256"] != policy.base.sha256:
        raise CheckpointError(
            f"{checkpoint}: adapters of another base model ({base['source']}, sha256 {base['sha256'][:16]}; "
            f"{policy.base.source} has {policy.base.sha256[:16]})"
        )
    try:
        read(checkpoint, policy, optimizers or (), [] if optimizers is None else groups, guide)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{checkpoint}: not of this model ({error})") from None
    return state


def _first_whole(folder: Path, names: list[str]) -> Path | None:
    """Return the first of the checkpoints whose files match its manifest; the first process's `names` count."""
    for name in gathered(names)[0]:
        try:
            verify_checkpoint(folder / name)
            return folder / name
        except CheckpointError as error:
            if rank() == 0:
                print(f"passed over: {error}", flush=True)
    return None


def verify_checkpoint(checkpoint: Path) -> None:
    """Raise CheckpointError naming the first file that is missing or does not match the manifest.

    Processes share the work, and all raise when one finds something.
    """

    def check() -> None:
        try:
            manifest = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{checkpoint}: {MANIFEST} cannot be read ({error})") from None
        size = dist.get_world_size() if dist.is_initialized() else 1
        for name in sorted(manifest)[rank() :: size]:
            file = checkpoint / name
            if not file.is_file() or file_sha256(file) != manifest[name]:
                raise CheckpointError(f"{file}: missing, or not the file that was saved (sha256 differs)")

    on_every_process(check)


def _with_base(state: Mapping[str, Any], policy: Policy) -> dict[str, Any]:
    return dict(state) if policy.base is None else {**state, _BASE: asdict(policy.base)}


def _publish(
    folder: Path,
    tensors: Tensors,
    settings: list[list[dict[str, Any]]],
    state: dict[str, Any],
    *,
    keep: int,
    main: bool,
    group: dist.ProcessGroup | None = None,
    on_published: Callable[[Path], None] | None = None,
    drawn: Sequence[ProblemSamples] | None = None,
) -> Path:
    """Write shards aside, then their checksums, then rename; collective over `group`."""
    target = folder / f"step-{state['step']:06d}"
    aside = folder / f".{target.name}.aside"

    def start() -> None:
        if main:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)

    def finish() -> None:
        if main:
            write_json(aside / "state.json", {**state, "optimizer_groups": settings})
            write_json(aside / MANIFEST, {**checksums, "state.json": file_sha256(aside / "state.json")})
            replace_folder(aside, target)
            _delete_old(folder, keep, target)
            if on_published is not None:
                on_published(target)

    what = f"{target}: not written"
    try:
        on_every_process(start, group, what)
        on_every_process(lambda: write(tensors, aside, group), group, what)
        if drawn is not None:
            on_every_process(lambda: write_rollouts(drawn, aside, rank()), group, what)
        number = f"{rank() + 1:05d}"
        files = sorted([*aside.glob(f"shard-{number}-*"), *aside.glob(f"rollouts-{number}.*")])
        mine = on_every_process(lambda: {file.name: file_sha256(file) for file in files}, group, what)
        checksums = {name: digest for part in mine for name, digest in part.items()}
        on_every_process(finish, group, what)
    except CheckpointError:
        if main:
            shutil.rmtree(aside, ignore_errors=True)  # a full disk needs the room
        raise
    return target


def _delete_old(folder: Path, keep: int, published: Path) -> None:
    """Later steps than the one published were passed over when the run began: they are damaged."""
    for step in _steps(folder):
        if step.name > published.name:
            shutil.rmtree(step)
    steps = _steps(folder)
    stay = kept({step.name: score_of(step) for step in steps}, keep)
    for step in steps:
        if step.name not in stay:
            shutil.rmtree(step)


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-[0-9]*"))
