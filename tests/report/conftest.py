"""The tiny testbed's data, and a run made on it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_testbed import data_folder

sys.path.insert(0, str(Path(__file__).parent))

from made_run import make_run

from sgpo.report import charts
from sgpo.report.panels import Panel

__all__ = ["data_folder"]


@pytest.fixture(scope="session")
def drawn_once() -> Callable[[Panel, list[dict[str, Any]]], str | None]:
    """`draw_panel` with a memory: thirty pages of one run, and drawing is nearly all of a page's time."""
    drawn: dict[str, str | None] = {}

    def draw(panel: Panel, rows: list[dict[str, Any]]) -> str | None:
        key = json.dumps([panel.name, rows], default=str)
        if key not in drawn:
            drawn[key] = real(panel, rows)
        return drawn[key]

    real = charts.draw_panel
    return draw


@pytest.fixture(autouse=True)
def _panels_are_drawn_once(drawn_once: Callable[..., str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "draw_panel", drawn_once)


@pytest.fixture
def made(tmp_path: Path, data_folder: Path) -> Path:
    return make_run(tmp_path / "the-run", data_folder)
