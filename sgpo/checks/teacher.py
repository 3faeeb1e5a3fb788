"""The strong model: whether its endpoint answers, takes the key and knows the model, or its recording can be read.

Nothing is paid for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sgpo.checks.finding import Finding, refusal
from sgpo.config.pipeline import PipelineParams
from sgpo.config.strategies import TeacherConfig
from sgpo.errors import UserError, one_line
from sgpo.problems import Problem

GROUP = "teacher"
PATIENCE_S = 15.0


def check_teacher(params: PipelineParams, problems: Sequence[Problem]) -> list[Finding]:
    """Return what is found about the configured teacher: its models are listed, or its recording is read."""
    config = params.teacher
    if config.kind == "recorded":
        return [_recorded(params, problems)]
    if config.kind != "openai":
        return [Finding(GROUP, "endpoint", "ok", f"kind {config.kind}: nothing is asked over a network")]
    try:
        return [asyncio.run(_listed(config)), _spending(config)]
    except ModuleNotFoundError as error:
        return [Finding(GROUP, "endpoint", "skipped", f"{error.name} is not installed here")]
    except UserError as error:
        return [refusal(GROUP, "endpoint", error)]


def _recorded(params: PipelineParams, problems: Sequence[Problem]) -> Finding:
    from sgpo.pipeline.teacher import recording_of

    try:
        recording = recording_of(params)
    except UserError as error:
        return refusal(GROUP, "recording", error)
    assert recording is not None  # as TeacherConfig demands of this kind
    having = sum(problem.id in recording.records for problem in problems)
    found = f"{recording.path}: {len(recording.records)} records, of {having} of {len(problems)} training problems"
    if problems and not having:
        cure = "a recording with the ids of these problems (`sgpo problems import --id FIELD` keeps a file's own)"
        return Finding(GROUP, "recording", "wrong", found, cure)
    return Finding(GROUP, "recording", "ok", found)


async def _listed(config: TeacherConfig) -> Finding:
    import openai

    from sgpo.strategies.teacher.openai_teacher import HOPELESS, endpoint_key

    where = f"{config.model} at {config.base_url}"
    key = endpoint_key(config)
    client = openai.AsyncOpenAI(base_url=config.base_url, api_key=key or "none", max_retries=0, timeout=PATIENCE_S)
    async with client:
        try:
            names = [model.id async for model in client.models.list()]
        except openai.APIStatusError as error:
            said = one_line(error, 200).replace(key or "\0", "***")
            if error.status_code in HOPELESS and error.status_code != 404:
                return Finding(GROUP, "endpoint", "wrong", f"{where}: {said}", f"the key in {config.api_key_env}")
            return Finding(
                GROUP, "endpoint", "warning", f"{where}: lists no models ({said}), so that it is not known whether it "
                "has this one", "`sgpo strategies respond` asks once before it asks for all",
            )  # fmt: skip
        except openai.APIError as error:
            return Finding(
                GROUP, "endpoint", "wrong", f"{where}: no answer ({type(error).__name__}: {one_line(error, 200)})",
                "a teacher.base_url that is reached from here, up to and with its /v1",
            )  # fmt: skip
        except ValueError as error:
            said = one_line(error, 100)
            return Finding(GROUP, "endpoint", "wrong", f"{where}: answers with something else than JSON ({said})",
                           "a teacher.base_url up to and with its /v1")  # fmt: skip
    if names and config.model not in names:
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        return Finding(GROUP, "endpoint", "wrong", f"{where}: it has {shown}", "teacher.model as the endpoint calls it")
    return Finding(GROUP, "endpoint", "ok", f"{where}: answers")


def _spending(config: TeacherConfig) -> Finding:
    if config.budget is None and config.budget_tokens is None:
        return Finding(
            GROUP, "budget", "warning", "no teacher.budget and no teacher.budget_tokens: nothing bounds what is spent",
            "prices and a budget in params.yaml",
        )  # fmt: skip
    given = {"teacher.budget": config.budget, "teacher.budget_tokens": config.budget_tokens}
    return Finding(GROUP, "budget", "ok", ", ".join(f"{name} {value:,}" for name, value in given.items() if value))
