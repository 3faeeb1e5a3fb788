"""The bar of a run: it follows the lines that training prints, and is not drawn more often than it need be."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import get_client

from flows import progress
from flows.progress import Progress

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_api")]


def drawn(key: str) -> list[float]:
    with get_client(sync_client=True) as client:
        found: Any = client.request("POST", "/artifacts/filter", json={"artifacts": {"key": {"any_": [key]}}}).json()
    return [artifact["data"] for artifact in found]


def test_the_bar_follows_the_steps_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_EVERY_S", 0.0)
    bars: list[list[float]] = []

    @flow
    def training() -> None:
        bar = Progress("bar-of-steps", "Training")
        for line in ("loading", "step    1/4  reward 0.10", "step    3/4  reward 0.20", "no step"):
            bar.read_step(line)
        bars.append(drawn("bar-of-steps"))
        bar.read_step("step    4/4  reward 0.30")

    training()
    assert bars == [[75]]
    assert drawn("bar-of-steps") == [100]


def test_quick_steps_are_not_all_drawn_but_the_last_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    changes: list[float] = []
    original = progress.update_progress_artifact
    monkeypatch.setattr(
        progress, "update_progress_artifact",
        lambda artifact, progress: (changes.append(progress), original(artifact, progress=progress)),
    )  # fmt: skip

    @flow
    def training() -> None:
        bar = Progress("bar-of-quick-steps", "Training")
        for step in range(1, 101):
            bar.read_step(f"step  {step:>3}/100  reward 0.10")

    training()
    assert len(changes) < 10
    assert changes[-1] == 100
    assert drawn("bar-of-quick-steps") == [100]


def test_a_server_that_is_away_costs_the_bar_and_not_the_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise httpx.ConnectError("connection refused")

    monkeypatch.setattr(progress, "create_progress_artifact", refuse)

    @flow
    def training() -> str:
        Progress("bar-of-nobody", "Training").read_step("step    1/4")
        return "trained"

    assert training() == "trained"
    assert "bar-of-nobody: 25 % is not shown: connection refused" in caplog.text
