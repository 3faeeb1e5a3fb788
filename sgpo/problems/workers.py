"""Worker processes that can be killed: what may hang, crash or run a model's code is judged in these alone."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from sgpo.errors import UserError

if TYPE_CHECKING:
    from pebble import ProcessFuture, ProcessPool

ResultT = TypeVar("ResultT")
Lost = Literal["timeout", "crashed"]
"""What is known of an item whose worker was killed when its time was up, or died by itself."""

_WATCH_SECONDS = 1.0
_START_SECONDS = 60.0
"""What a fresh worker may take to import what it needs on a busy machine."""


class VerifierError(UserError):
    """The verifier itself does not work; it says nothing about any answer."""


class KillableWorkers:
    """`workers` processes, started by spawning at the first item: safe beside torch's threads.

    `initializer` prepares a fresh process; its seconds are not the first item's.
    """

    def __init__(self, workers: int, initializer: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self._workers, self._initializer, self._arguments = workers, initializer, arguments
        self._pool: ProcessPool | None = None

    def run(
        self, function: Callable[..., ResultT], items: Sequence[tuple[Any, ...]], timeouts: Sequence[float]
    ) -> list[ResultT | Lost]:
        """Return `function(*item)` of each item, in order; `timeouts` are seconds. Raises VerifierError.

        A pool that breaks is replaced, but not twice without a result in between.
        """
        done: dict[int, ResultT | Lost] = {}
        tries = 0
        while len(done) < len(items):
            before = len(done)
            try:
                self._run_open(function, items, timeouts, done)
            except BrokenProcessPool as error:
                self.stop()
                tries = tries + 1 if len(done) == before else 0
                if tries >= 2:
                    raise VerifierError(
                        "verifier workers do not start "
                        '(a script needs `if __name__ == "__main__":` around its main part)'
                    ) from error
        return [done[index] for index in range(len(items))]

    def stop(self) -> None:
        """End the processes; the next item starts others."""
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None

    def _run_open(
        self,
        function: Callable[..., ResultT],
        items: Sequence[tuple[Any, ...]],
        timeouts: Sequence[float],
        done: dict[int, ResultT | Lost],
    ) -> None:
        """Run what is not yet in `done`. Raises BrokenProcessPool with the rest open."""
        pool = self._running_pool()
        futures: dict[int, ProcessFuture[ResultT]] = {}
        for index, item in enumerate(items):
            if index not in done:
                try:
                    futures[index] = pool.schedule(function, args=item, timeout=timeouts[index])
                except RuntimeError as error:  # pebble's word for a pool that broke in the meantime
                    raise BrokenProcessPool(str(error)) from error
        patience = sum(timeouts[index] + _START_SECONDS for index in futures) / self._workers
        deadline = time.monotonic() + _START_SECONDS + patience
        while wait(futures.values(), timeout=_WATCH_SECONDS).not_done and pool.active:
            if time.monotonic() > deadline:
                self.stop()
                raise VerifierError("verifier workers give no verdicts")
        done.update({index: _result(future) for index, future in futures.items() if _has_result(future)})
        if any(index not in done for index in futures):
            raise BrokenProcessPool("the pool broke before all was judged")

    def _running_pool(self) -> ProcessPool:
        if self._pool is not None and not self._pool.active:
            self.stop()  # a worker was killed while it was idle
        if self._pool is None:
            from pebble import ProcessPool

            self._pool = ProcessPool(
                max_workers=self._workers,
                initializer=self._initializer,
                initargs=self._arguments,
                context=multiprocessing.get_context("spawn"),
            )
        return self._pool


def _has_result(future: ProcessFuture[Any]) -> bool:
    return future.done() and not isinstance(future.exception(), BrokenProcessPool)


def _result(future: ProcessFuture[ResultT]) -> ResultT | Lost:
    from pebble import ProcessExpired

    try:
        return future.result()
    except TimeoutError:
        return "timeout"
    except ProcessExpired:
        return "crashed"
