import asyncio
import json
import os
from pathlib import Path

import pytest
from arithmetic_teacher import PROBLEMS, ArithmeticTeacher

from sgpo.config.strategies import TeacherConfig
from sgpo.strategies.teacher.journal import JournalError, RecordedTeacher
from sgpo.strategies.teacher.spending import Spending
from sgpo.strategies.teacher.teacher import BudgetReachedError, Completion
from sgpo.strategies.teacher.templates import respond_request

MESSAGES = respond_request(PROBLEMS[0])


def ask(teacher: ArithmeticTeacher, path: Path, seed: int = 1, temperature: float = 0.5) -> str:
    async def one() -> str:
        async with RecordedTeacher(teacher, path) as recorded:
            return (await recorded.complete(MESSAGES, seed=seed, temperature=temperature)).text

    return asyncio.run(one())


def test_the_same_request_is_asked_once_also_by_another_process(tmp_path: Path) -> None:
    first, second = ArithmeticTeacher(), ArithmeticTeacher()
    assert ask(first, tmp_path / "j") == ask(first, tmp_path / "j") == ask(second, tmp_path / "j")
    assert (first.requests.total(), second.requests.total()) == (1, 0)


def test_another_seed_temperature_or_wording_is_another_request(tmp_path: Path) -> None:
    teacher = ArithmeticTeacher()

    async def several() -> RecordedTeacher:
        async with RecordedTeacher(teacher, tmp_path / "j") as recorded:
            await recorded.complete(MESSAGES, seed=1, temperature=0.5)
            await recorded.complete(MESSAGES, seed=2, temperature=0.5)
            await recorded.complete(MESSAGES, seed=1, temperature=0.6)
            await recorded.complete(respond_request(PROBLEMS[1]), seed=1, temperature=0.5)
            await recorded.complete(MESSAGES, seed=1, temperature=0.5)
        return recorded

    recorded = asyncio.run(several())
    assert (recorded.asked, recorded.reused) == (4, 1)
    prompt_tokens = sum(len(prompt.split()) * n for (prompt, _), n in teacher.requests.items())
    assert recorded.asked_usage.prompt_tokens == recorded.spending.used.prompt_tokens == prompt_tokens


def test_a_line_cut_by_a_crash_is_asked_again_and_the_rest_kept(tmp_path: Path) -> None:
    path = tmp_path / "j"
    kept, cut = ask(ArithmeticTeacher(), path, seed=1), ask(ArithmeticTeacher(), path, seed=2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    teacher = ArithmeticTeacher()
    assert ask(teacher, path, seed=1) == kept
    assert ask(teacher, path, seed=2) == cut
    assert teacher.requests.total() == 1
    assert path.read_bytes() == whole


@pytest.mark.parametrize("line", ["not JSON", "[]", "{}", json.dumps({"key": "k", "completion": {"text": "t"}})])
def test_a_damaged_journal_is_an_error_that_names_file_and_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "j"
    ask(ArithmeticTeacher(), path)
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(JournalError, match=r"j line 2: not a recorded completion"):
        ask(ArithmeticTeacher(), path)


def test_two_runs_cannot_write_one_journal(tmp_path: Path) -> None:
    async def two() -> None:
        first, second = (RecordedTeacher(ArithmeticTeacher(), tmp_path / "j") for _ in range(2))
        async with first, second:
            pass

    with pytest.raises(JournalError, match="another run is writing"):
        asyncio.run(two())
    assert ask(ArithmeticTeacher(), tmp_path / "j")


class SlowTeacher(ArithmeticTeacher):
    """Answers when told to, and knows how many requests were under way at once."""

    def __init__(self, finish: str = "stop", max_tokens: int = 4096) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.under_way = self.most = 0
        self.finish, self.limit = finish, max_tokens

    @property
    def max_tokens(self) -> int:
        return self.limit

    async def complete(self, messages, *, seed: int, temperature: float) -> Completion:
        self.requests[messages[-1].content, seed] += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.go.wait()
        self.under_way -= 1
        return Completion(f"answer {seed}", 10, 10, self.finish)  # type: ignore[arg-type]


def test_no_more_requests_are_under_way_than_asked_for(tmp_path: Path) -> None:
    async def many() -> SlowTeacher:
        teacher = SlowTeacher()
        async with RecordedTeacher(teacher, tmp_path / "j", TeacherConfig(concurrency=3)) as recorded:
            tasks = [asyncio.create_task(recorded.complete(MESSAGES, seed=n, temperature=0.5)) for n in range(10)]
            await asyncio.sleep(0.05)
            assert teacher.under_way == 3
            teacher.go.set()
            await asyncio.gather(*tasks)
        return teacher

    assert asyncio.run(many()).most == 3


def test_the_same_request_under_way_is_asked_once(tmp_path: Path) -> None:
    async def twice() -> tuple[SlowTeacher, list[Completion]]:
        teacher = SlowTeacher()
        async with RecordedTeacher(teacher, tmp_path / "j") as recorded:
            tasks = [asyncio.create_task(recorded.complete(MESSAGES, seed=1, temperature=0.5)) for _ in range(4)]
            await asyncio.sleep(0.05)
            teacher.go.set()
            return teacher, await asyncio.gather(*tasks)

    teacher, answers = asyncio.run(twice())
    assert teacher.requests.total() == 1
    assert [answer.text for answer in answers] == ["answer 1"] * 4


def test_what_is_under_way_when_a_run_is_cancelled_is_recorded_and_nothing_new_is_sent(tmp_path: Path) -> None:
    async def cancelled() -> SlowTeacher:
        teacher = SlowTeacher()

        async def work() -> None:
            async with RecordedTeacher(teacher, tmp_path / "j", TeacherConfig(concurrency=2)) as recorded:
                asked = (recorded.complete(MESSAGES, seed=n, temperature=0.5) for n in range(6))
                await asyncio.gather(*asked)

        task = asyncio.create_task(work())
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.sleep(0.05)
        teacher.go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        return teacher

    assert asyncio.run(cancelled()).requests.total() == 2
    idle = ArithmeticTeacher()
    assert [ask(idle, tmp_path / "j", seed=n) for n in (0, 1)] == ["answer 0", "answer 1"]
    assert idle.requests.total() == 0


def test_the_grace_for_what_is_under_way_ends(tmp_path: Path) -> None:
    async def stuck() -> None:
        async with RecordedTeacher(SlowTeacher(), tmp_path / "j", grace_s=0.05) as recorded:
            async with asyncio.timeout(0.05):
                await recorded.complete(MESSAGES, seed=1, temperature=0.5)

    with pytest.raises(TimeoutError):
        asyncio.run(stuck())
    assert (tmp_path / "j").read_bytes() == b""


def test_an_answer_that_was_cut_is_asked_for_again_only_with_more_room(tmp_path: Path) -> None:
    def requests(finish: str, max_tokens: int) -> int:
        async def one() -> int:
            teacher = SlowTeacher(finish, max_tokens)
            teacher.go.set()
            async with RecordedTeacher(teacher, tmp_path / "j") as recorded:
                await recorded.complete(MESSAGES, seed=1, temperature=0.5)
            return teacher.requests.total()

        return asyncio.run(one())

    assert [requests("length", 100), requests("length", 100), requests("stop", 200)] == [1, 0, 1]
    assert requests("stop", 400) == 0


def test_a_budget_is_never_overstepped_and_counts_what_earlier_runs_used(tmp_path: Path) -> None:
    config = TeacherConfig(budget_tokens=4 * 20 + 9_000, max_tokens=4096)

    async def until_stopped(purpose: str) -> int:
        teacher = SlowTeacher()
        teacher.go.set()
        async with RecordedTeacher(teacher, tmp_path / "j", config, purpose=purpose) as recorded:

            async def go_on_asking() -> None:
                for number in range(1000):
                    await recorded.complete(MESSAGES, seed=number, temperature=0.5)

            with pytest.raises(BudgetReachedError, match=r"teacher.budget_tokens=9,080 leaves no room"):
                await go_on_asking()
            most = recorded.spending.most(MESSAGES).tokens
            assert recorded.spending.used.tokens <= 9_080 < recorded.spending.used.tokens + most
        return teacher.requests.total()

    first = asyncio.run(until_stopped("these problems"))
    assert first > 100
    assert asyncio.run(until_stopped("these problems")) == 0
    assert asyncio.run(until_stopped("others")) == first  # theirs is a budget of its own


def test_requests_wait_for_room_in_the_budget(tmp_path: Path) -> None:
    async def several() -> SlowTeacher:
        teacher = SlowTeacher()
        most = Spending(TeacherConfig()).most(MESSAGES).tokens
        config = TeacherConfig(budget_tokens=2 * most + 10)
        async with RecordedTeacher(teacher, tmp_path / "j", config) as recorded:
            tasks = [asyncio.create_task(recorded.complete(MESSAGES, seed=n, temperature=0.5)) for n in range(4)]
            await asyncio.sleep(0.05)
            assert teacher.under_way == 2
            teacher.go.set()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert recorded.spending.used.tokens <= 2 * most + 10
        assert not [result for result in results[:2] if isinstance(result, Exception)]
        return teacher

    asyncio.run(several())


def test_money_is_counted_by_both_prices() -> None:
    spending = Spending(TeacherConfig(prompt_price=2.0, completion_price=10.0))
    spending.add(Completion("t", 300_000, 100_000))
    assert spending.cost() == pytest.approx(0.6 + 1.0)
    assert spending.describe() == "400,000 tokens, cost 1.60"


def test_a_disk_that_fills_up_leaves_a_journal_that_can_be_read(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "j"
    kept = ask(ArithmeticTeacher(), path, seed=1)
    whole = path.read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:30]))
    with pytest.raises(JournalError, match="cannot be written"):
        ask(ArithmeticTeacher(), path, seed=2)
    monkeypatch.undo()
    assert path.read_bytes() == whole
    assert ask(ArithmeticTeacher(), path, seed=1) == kept
