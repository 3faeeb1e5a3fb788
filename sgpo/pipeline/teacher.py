"""Which strong model answers: the configured endpoint, or the testbed's scripted one at an endpoint of its own."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from pathlib import Path

from sgpo.config.strategies import TeacherConfig
from sgpo.errors import one_line
from sgpo.problems.schema import Problem
from sgpo.strategies.teacher.journal import RecordedTeacher
from sgpo.strategies.teacher.openai_teacher import OpenAITeacher
from sgpo.strategies.teacher.teacher import Teacher, TeacherError


@asynccontextmanager
async def recorded_teacher(
    config: TeacherConfig, problems: Sequence[Problem], work: Path
) -> AsyncIterator[RecordedTeacher]:
    """Yield the configured teacher with its journal `work`/teacher.jsonl; its budget is for this set of problems."""
    async with AsyncExitStack() as stack:
        if config.kind == "plugin":
            teacher = load_teacher(config.plugin)
            journal = RecordedTeacher(teacher, work / "teacher.jsonl", config, purpose=purpose_of(problems))
            yield await stack.enter_async_context(journal)
            return
        if config.kind == "scripted":
            from sgpo.testbed.teacher_server import scripted_endpoint

            address = await stack.enter_async_context(scripted_endpoint())
            config = config.model_copy(update={"base_url": address, "api_key_env": ""})
        endpoint = await stack.enter_async_context(OpenAITeacher(config))
        purpose = purpose_of(problems)
        journal = RecordedTeacher(endpoint, work / "teacher.jsonl", config, purpose=purpose, first_alone=True)
        yield await stack.enter_async_context(journal)


def load_teacher(path: str) -> Teacher:
    """Return an instance of the class at `package.module:Class`. Raises TeacherError where it is no Teacher."""
    module, _, name = path.partition(":")
    try:
        teacher = getattr(import_module(module), name)()
    except Exception as error:  # whatever somebody's module or class raises
        raise TeacherError(f"teacher.plugin '{path}': {one_line(error, 300)} (expected package.module:Class)") from None
    if missing := [member for member in ("name", "max_tokens", "complete") if not hasattr(teacher, member)]:
        raise TeacherError(f"teacher.plugin '{path}': has no '{missing[0]}' (expected a Teacher)")
    return teacher


def purpose_of(problems: Sequence[Problem]) -> str:
    """Return the name of a set of problems: 16 hex digits of its ids, in whatever order."""
    return hashlib.sha256("\n".join(sorted(problem.id for problem in problems)).encode()).hexdigest()[:16]


def describe_requests(teacher: RecordedTeacher) -> str:
    """Return what was requested and what it cost, in one line."""
    return (
        f"{teacher.name}: {teacher.asked} requests, {teacher.reused} answered from the journal; "
        f"{teacher.spending.describe()} for these problems so far"
    )
