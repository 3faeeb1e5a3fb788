from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from contextlib import aclosing
from pathlib import Path

import pytest

from sgpo.strategies.teacher.concurrency import FAILED_IN_A_ROW, in_order, run
from sgpo.strategies.teacher.teacher import RequestFailedError, TeacherError


def collect(work, items, at_once: int = 4) -> list[int]:
    async def all_of_them() -> list[int]:
        async with aclosing(in_order(items, work, at_once)) as results:
            return [result async for result in results]

    return asyncio.run(all_of_them())


def test_results_come_in_order_whatever_takes_longest_and_few_are_held() -> None:
    held, most = 0, 0

    async def work(item: int) -> int:
        nonlocal held, most
        held += 1
        most = max(most, held)
        await asyncio.sleep(0.02 if item % 3 == 0 else 0)
        held -= 1
        return item * 10

    assert collect(work, range(20)) == [item * 10 for item in range(20)]
    assert 1 < most <= 4


def test_the_items_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []

    def source():
        for item in range(1000):
            taken.append(item)
            yield item

    async def work(item: int) -> int:
        return item

    async def first_two() -> None:
        async with aclosing(in_order(source(), work, 4)) as results:
            async for result in results:
                if result == 1:
                    break

    asyncio.run(first_two())
    assert len(taken) <= 6


async def fail_on_odd(item: int) -> int:
    await asyncio.sleep(0)
    if item % 2:
        raise RequestFailedError(f"item {item} was not answered")
    return item


def test_items_that_fail_hold_up_no_other_and_are_counted_at_the_end() -> None:
    results: list[int] = []

    async def all_of_them() -> None:
        async with aclosing(in_order(range(10), fail_on_odd, 3)) as outcomes:
            async for outcome in outcomes:
                results.append(outcome)

    with pytest.raises(TeacherError, match="5 problems are not done, the last because of: item 9 was not answered"):
        asyncio.run(all_of_them())
    assert results == [0, 2, 4, 6, 8]


def test_an_endpoint_that_is_down_ends_the_run_early() -> None:
    started: list[int] = []

    async def work(item: int) -> int:
        started.append(item)
        raise RequestFailedError("down")

    with pytest.raises(TeacherError, match=f"{FAILED_IN_A_ROW} in a row"):
        collect(work, range(1000))
    assert len(started) <= FAILED_IN_A_ROW + 4


def test_another_error_ends_the_work_at_once_and_cancels_the_rest() -> None:
    cancelled: list[int] = []

    async def work(item: int) -> int:
        if item == 0:
            raise TeacherError("no such model")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(item)
            raise
        return item

    with pytest.raises(TeacherError, match="no such model"):
        collect(work, range(10))
    assert cancelled == [1, 2, 3]


def _stopped_by(number: int, folder: Path) -> None:
    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            (folder / "ended in order").touch()

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
    try:
        run(work())
    except KeyboardInterrupt:
        (folder / "interrupted").touch()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_work_in_order(number, tmp_path) -> None:
    child = multiprocessing.get_context("spawn").Process(target=_stopped_by, args=(number, tmp_path))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"ended in order", "interrupted"}
