"""Which strong model answers: the configured endpoint, the testbed's scripted one at one of its own, or a file."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from pkgutil import resolve_name

from sgpo.config.pipeline import PipelineParams
from sgpo.errors import one_line
from sgpo.problems.schema import Problem
from sgpo.strategies.refusals import RefusedText
from sgpo.strategies.teacher.journal import RecordedTeacher
from sgpo.strategies.teacher.openai_teacher import OpenAITeacher
from sgpo.strategies.teacher.recording import Recording, read_recording
from sgpo.strategies.teacher.replay import ReplayingTeacher, records_without_problem
from sgpo.strategies.teacher.teacher import Teacher, TeacherError


@asynccontextmanager
async def recorded_teacher(
    params: PipelineParams, problems: Sequence[Problem], work: Path
) -> AsyncIterator[RecordedTeacher]:
    """Yield the configured teacher with its journal in `work`; its budget is for this set of problems.

    A recording has a journal of its own, for these very bytes: a file that changed is read, not remembered.
    """
    config, journal = params.teacher, work / "teacher.jsonl"
    async with AsyncExitStack() as stack:
        if config.kind == "scripted":
            from sgpo.testbed.teacher_server import scripted_endpoint

            address = await stack.enter_async_context(scripted_endpoint())
            config = config.model_copy(update={"base_url": address, "api_key_env": ""})
        teacher: Teacher
        if config.kind == "plugin":
            teacher = load_teacher(config.plugin)
        elif recording := recording_of(params):
            journal = work / f"teacher-{recording.sha256[:16]}.jsonl"
            teacher = ReplayingTeacher(recording, problems, params.strategies, config.model, config.max_tokens)
        else:
            teacher = await stack.enter_async_context(OpenAITeacher(config))
        # An endpoint that refuses everything should cost one request; a class of one's own costs what it says.
        alone = config.kind != "plugin"
        kept = RecordedTeacher(teacher, journal, config, purpose=purpose_of(problems), first_alone=alone)
        yield await stack.enter_async_context(kept)


def recording_of(params: PipelineParams) -> Recording | None:
    """Return the recording that is the teacher; None where it is another. Raises RecordingError."""
    path = params.teacher.recording
    return None if path is None else read_recording(path, params.strategies.candidates)


def unused_records(params: PipelineParams, problems: Sequence[Problem]) -> list[RefusedText]:
    """Return a refusal for every record of the recording that fits none of the problems."""
    recording = recording_of(params)
    return [] if recording is None else records_without_problem(recording, problems)


def load_teacher(path: str) -> Teacher:
    """Return an instance of the class at `package.module:Class`. Raises TeacherError where it is no Teacher."""
    try:
        teacher = resolve_name(path)()
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
