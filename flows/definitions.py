"""How flows and tasks are defined here: hooks, descriptions for the form, and retries through a registry's outage."""

from collections.abc import Callable
from typing import Any, TypeVar

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.hooks import tell_what_next
from flows.parameters import described
from flows.process import OUTAGE_S, can_help_to_retry

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
"""A flow or task is called as the function that it is made of."""


def operated_flow(**settings: Any) -> Callable[[FunctionT], FunctionT]:
    """Return Prefect's `flow`, with parameters described in the form and a hook that says what to do next."""
    hooks: list[Any] = [tell_what_next]

    def define(function: FunctionT) -> FunctionT:
        with_hooks: Any = flow(on_failure=hooks, on_crashed=hooks, on_cancellation=hooks, **settings)
        return with_hooks(described(function))

    return define


def recorded_flow(**settings: Any) -> Callable[[FunctionT], FunctionT]:
    """Return `operated_flow` whose result is kept as JSON."""
    return operated_flow(persist_result=True, result_serializer="json", **settings)


def retried_task(
    task_run_name: str, seconds: float, retry_delay_seconds: list[float] = OUTAGE_S
) -> Callable[[FunctionT], FunctionT]:
    """Return Prefect's `task`, tried again where that can help, by default through a registry's outage of minutes.

    Nothing is cached: what was done is found in files and registry.
    """
    define: Any = task(
        task_run_name=task_run_name, retries=len(retry_delay_seconds), retry_delay_seconds=retry_delay_seconds,
        retry_condition_fn=can_help_to_retry, cache_policy=NO_CACHE, timeout_seconds=seconds,
    )  # fmt: skip
    return define
