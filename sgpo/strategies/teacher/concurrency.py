"""Many problems at once, their results in order, and nothing left half-done by a signal."""

import asyncio
import signal
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import TypeVar

from sgpo.strategies.teacher.teacher import RequestFailedError, TeacherError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

FAILED_IN_A_ROW = 25
"""So many problems that fail with none done between them: the endpoint is down, and the run stops."""


async def in_order(
    items: Iterable[ItemT], work: Callable[[ItemT], Awaitable[ResultT]], at_once: int | Callable[[], int]
) -> AsyncGenerator[ResultT, None]:
    """`work(item)` for every item, at most `at_once` of them held at a time, results in the order of the items.

    A function as `at_once` is asked before each: it may know more after the first results.

    An item whose request failed (RequestFailedError) yields nothing and holds up no other; after the last item, or
    after FAILED_IN_A_ROW of them, TeacherError says how many there were. Any other error ends the work at once.
    """
    waiting: deque[asyncio.Future[ResultT]] = deque()
    source = iter(items)
    failed, in_a_row = 0, 0
    last: RequestFailedError | None = None
    try:
        while True:
            while len(waiting) < (at_once if isinstance(at_once, int) else at_once()):
                try:
                    waiting.append(asyncio.ensure_future(work(next(source))))
                except StopIteration:
                    break
            if not waiting:
                break
            try:
                result = await waiting.popleft()
            except RequestFailedError as error:
                last, failed, in_a_row = error, failed + 1, in_a_row + 1
                if in_a_row >= FAILED_IN_A_ROW:
                    raise TeacherError(
                        f"{failed} problems failed, {in_a_row} in a row, the last with: {error}"
                    ) from None
                continue
            in_a_row = 0
            yield result
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    if last is not None:
        raise TeacherError(f"{failed} problems are not done, the last because of: {last} (run again: the rest is kept)")


def run(main: Coroutine[object, object, ResultT]) -> ResultT:
    """Run `main` to its end. SIGINT and SIGTERM cancel it: its contexts end in order; then KeyboardInterrupt."""

    async def stoppable() -> ResultT:
        task = asyncio.current_task()
        assert task is not None
        with suppress(ValueError, RuntimeError):  # only a main thread may handle signals
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await main

    try:
        return asyncio.run(stoppable())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
