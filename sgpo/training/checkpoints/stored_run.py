"""A run that is stored while it goes on, so that another machine can resume it."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from sgpo.config import RunConfig
from sgpo.files import file_sha256
from sgpo.storage.folders import delete_folder, forget_fetched, list_folders, pull_folder, push_folder, read_manifest
from sgpo.storage.lock import Lock, LockedError
from sgpo.storage.manifest import Manifest, StoredFile
from sgpo.storage.objects import ObjectStore, StorageError, UnreachableError
from sgpo.storage.runs import pull_record, push_record, run_name
from sgpo.training.checkpoints.checkpoint import MANIFEST, newest_checkpoint
from sgpo.training.checkpoints.kept import NO_SCORE, SCORE, kept, ranked, score_of
from sgpo.training.world import is_main_process


@contextmanager
def open_stored_run(config: RunConfig, folder: Path) -> Iterator[StoredRun | None]:
    """Store the run in `folder` within the block; None when there is no bucket, and on all but the main process.

    To be opened before anything is written to `folder`: a record of a run that got further on another machine is
    brought there first. Raises LockedError when another machine has the run.
    """
    if config.storage.bucket is None or not is_main_process():
        yield None
        return
    store = ObjectStore(config.storage)
    with Lock(store, run_name(folder), on_lost=_ask_to_stop) as lock, StoredRun(store, lock, config, folder) as stored:
        yield stored


class StoredRun:
    """The run's lock is held. Checkpoints and the model are sent by a thread, which never stops the run.

    What could not be sent is counted in `failed`, said once, and tried again with the next checkpoint and at the end
    of the block, there for `storage.patience_s`.
    """

    def __init__(self, store: ObjectStore, lock: Lock, config: RunConfig, folder: Path) -> None:
        self._store, self._lock, self._folder, self._name = store, lock, folder, run_name(folder)
        self._keep, self._patience_s = config.training.keep_checkpoints, config.storage.patience_s
        self._exports_best = config.training.validation.every is not None
        self._checkpoints, self._warmup = folder / "checkpoints", folder / "warmup"
        self._model: Path | None = None
        self.failed = 0
        self._silent = False
        self._wanted, self._ending, self._unsent = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="storage", daemon=True)
        self._newer = self._newer_there()
        if self._newer:
            pull_record(store, folder)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._wanted.set()
        self._thread.join()

    def fetch_checkpoint(self) -> None:
        """Fetch the newest stored checkpoint that is whole, when it is newer than this machine's.

        Where the best one is exported at the end, that is fetched too. Raises UnreachableError when the storage does
        not answer: the run would restart.
        """
        if not (self._warmup / "done").exists() and read_manifest(self._store, f"{self._name}/warmup") is not None:
            pull_folder(self._store, f"{self._name}/warmup", self._warmup / "model")
            (self._warmup / "done").touch()
        if any(self._fetch(step, "resumes from") for step in self._newer) and self._exports_best:
            self._fetch_best()

    def delete_training(self) -> None:
        """Delete what is stored of the run's warm-up, checkpoints and model: it restarts, and must not fetch them."""
        checkpoints = list_folders(self._store, self._step(""), unfinished=True)
        for name in [*checkpoints, *(f"{self._name}/{part}" for part in ("warmup", "model", "adapter"))]:
            delete_folder(self._store, name)
        self._newer = []

    def _fetch_best(self) -> None:
        """Fetch the best stored checkpoint up to the one that is resumed from, unless it is here."""
        newest = max(path.name for path in self._checkpoints.glob("step-[0-9]*"))
        scores = {step: _score_there(manifest) for step, manifest in self._steps_there().items() if step <= newest}
        any((self._checkpoints / step).is_dir() or self._fetch(step, "keeps the best,") for step in ranked(scores))

    def _fetch(self, step: str, why: str) -> bool:
        """Fetch a stored checkpoint; False, with a message, when it is not whole."""
        try:
            pull_folder(self._store, self._step(step), self._checkpoints / step)
        except UnreachableError:
            raise
        except StorageError as error:
            print(f"passed over: {error}", flush=True)
            forget_fetched(self._checkpoints / step)
            return False
        print(f"storage: {why} {step} of {self._store.where(self._name)}", flush=True)
        return True

    def checkpoint_published(self, checkpoint: Path) -> None:
        """Note that a checkpoint is there to be sent; returns at once."""
        self._unsent.set()
        self._wanted.set()

    def model_exported(self, model: Path) -> None:
        """Note that the trained model is there to be sent; returns at once."""
        self._model = model
        self._unsent.set()
        self._wanted.set()

    def _newer_there(self) -> list[str]:
        """Return stored checkpoints that are newer than the newest whole one here, the newest first."""
        here = newest_checkpoint(self._checkpoints)
        return [step for step in sorted(self._steps_there(), reverse=True) if here is None or step > here.name]

    def _work(self) -> None:
        ending = False
        while not ending:
            self._wanted.wait()
            self._wanted.clear()
            ending = self._ending.is_set()
            if self._unsent.is_set():
                self._unsent.clear()
                self._send_all(self._patience_s if ending else 0.0, ending)

    def _send_all(self, patience_s: float, ending: bool) -> None:
        from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

        patiently = Retrying(
            retry=retry_if_exception_type(UnreachableError), stop=stop_after_delay(patience_s),
            wait=wait_random_exponential(max=15), reraise=True,
        )  # fmt: skip
        try:
            patiently(self._send_what_is_missing)
        except LockedError as error:
            self._say(f"no longer stored: {error}")
        except Exception as error:  # whatever a server or a disk raises: storing must never stop a run
            self.failed += 1
            self._unsent.set()
            if ending:
                self._say(f"not all is stored (the same command sends the rest): {error}")
            elif not self._silent:
                self._say(f"not stored (the run goes on, and tries again with its next checkpoint): {error}")
            self._silent = True
        else:
            if self._silent:
                self._say(f"{self._store.where(self._name)}: all is stored")
            self._silent = False

    def _say(self, message: str) -> None:
        print(f"storage: {message}", file=sys.stderr, flush=True)

    def _send_what_is_missing(self) -> None:
        """Bring the storage up to the files of the run; may be repeated."""
        self._lock.renew()  # a run that lost its lock publishes nothing more
        if (self._warmup / "done").exists():
            push_folder(self._store, self._warmup / "model", f"{self._name}/warmup", replace=True)
        push_record(self._store, self._folder)  # before the checkpoint, which counts on the metrics of its steps
        self._send_checkpoints()
        if self._model is not None:
            for folder in (self._model, self._model.with_name("adapter")):
                if folder.is_dir():
                    self._lock.renew()
                    push_folder(self._store, folder, f"{self._name}/{folder.name}", replace=True)

    def _send_checkpoints(self) -> None:
        here = {path.name: path for path in self._checkpoints.glob("step-[0-9]*")}
        if not here:
            return
        # What is stored of later steps than there are here was passed over at the start.
        there = {step: manifest for step, manifest in self._steps_there().items() if step <= max(here)}
        scores = {step: _score_there(manifest) for step, manifest in there.items()}
        stay = kept(scores | {step: score_of(path) for step, path in here.items()}, self._keep)
        for step in sorted(stay & here.keys(), reverse=True):
            self._send_checkpoint(here[step], there.get(step))
        for name in list_folders(self._store, self._step(""), unfinished=True):
            if name.rpartition("/")[2] not in stay:
                self._lock.renew()  # sending may have taken longer than the lease: it may be a new holder's
                delete_folder(self._store, name)

    def _send_checkpoint(self, checkpoint: Path, there: Manifest | None) -> None:
        try:
            own = checkpoint / MANIFEST
            digests = {**json.loads(own.read_text(encoding="utf-8")), MANIFEST: file_sha256(own)}
            files = {
                name: StoredFile(sha256=digest, size=(checkpoint / name).stat().st_size)
                for name, digest in digests.items()
            }
            if there is None or there.files != files:
                score = score_of(checkpoint)
                notes: dict[str, float | str] = {SCORE: score} if math.isfinite(score) else {}
                name = self._step(checkpoint.name)
                push_folder(self._store, checkpoint, name, replace=True, notes=notes, files=files)
        except FileNotFoundError:
            pass  # a newer one took its place here meanwhile: that one is sent next

    def _steps_there(self) -> dict[str, Manifest]:
        found = {}
        for name in list_folders(self._store, self._step("")):
            manifest = read_manifest(self._store, name)
            if manifest is not None:
                found[name.rpartition("/")[2]] = manifest
        return found

    def _step(self, step: str) -> str:
        return f"{self._name}/checkpoints/{step}"


def _score_there(manifest: Manifest) -> float:
    return float(manifest.notes.get(SCORE, NO_SCORE))


def _ask_to_stop(why: str) -> None:
    """As a scheduler would: the step is finished and saved here, and the run ends on all processes."""
    print(f"storage: {why}; this run stops", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
