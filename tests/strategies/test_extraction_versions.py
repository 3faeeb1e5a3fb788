"""Versions of an extraction with git and DVC as a user runs them: what is new is requested, what was comes back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sgpo.config.pipeline import PipelineParams
from sgpo.pipeline import stages
from sgpo.problems import read_problems, write_problems
from sgpo.strategies.bank import load_strategies

pytestmark = [pytest.mark.slow, pytest.mark.long]

OLD, NEW = 30, 33
RESPONSES, STRATEGIES = ("responses.parquet", "responses_refused.jsonl"), ("strategies.parquet", "strategies.json")
MADE = (*RESPONSES, *STRATEGIES, "strategies_refused.jsonl")


def params(train: int) -> dict[str, Any]:
    # The world draws its problems one after the other: more of them are the same ones, and new ones behind.
    return {"world": {"train": train, "tuning": 4, "held_out": 4}}


def digests(data: Path) -> dict[str, str]:
    return {name: hashlib.sha256((data / name).read_bytes()).hexdigest() for name in MADE}


def requests(journal: Path) -> list[str]:
    """The keys of the requests that were sent, in order."""
    return [json.loads(line)["key"] for line in journal.read_text(encoding="utf-8").splitlines()]


class Versions:
    """Two tagged versions of an extraction, and what was seen on the way."""

    def __init__(self, checkout: Any) -> None:
        self.checkout, self.data = checkout, checkout.folder / "data"
        self.journal = checkout.folder / ".sgpo" / "work" / "teacher.jsonl"
        self.digests, self.requests, self.strategies = {}, {}, {}
        for tag, train in (("v1", OLD), ("v2", NEW)):
            checkout.set_params(params(train))
            checkout.dvc("repro", "strategies")
            checkout.commit(tag)
            self.digests[tag], self.requests[tag] = digests(self.data), requests(self.journal)
            self.strategies[tag] = load_strategies(self.data / "strategies.parquet")
        self.added = self.strategies["v2"].keys() - self.strategies["v1"].keys()


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory, make_checkout: Callable[..., Any]) -> Versions:
    return Versions(make_checkout(tmp_path_factory.mktemp("checkout"), params(OLD)))


def test_only_the_new_problems_are_requested(versions: Versions, tmp_path: Path) -> None:
    before, after = versions.requests["v1"], versions.requests["v2"]
    assert after[: len(before)] == before
    problems = read_problems(versions.data / "problems" / "train.parquet")
    assert len(problems) == NEW
    write_problems(problems[OLD:], tmp_path / "problems" / "train.parquet")
    alone = PipelineParams.model_validate(params(NEW))
    stages.respond(alone, tmp_path, tmp_path)
    stages.extract(alone, tmp_path, tmp_path)
    assert sorted(after[len(before) :]) == sorted(requests(tmp_path / "teacher.jsonl"))
    assert load_strategies(tmp_path / "strategies.parquet").keys() == versions.added


def test_the_strategies_of_the_old_problems_are_the_same(versions: Versions) -> None:
    old, new = versions.strategies["v1"], versions.strategies["v2"]
    assert versions.added
    assert {name: new[name] for name in old} == old


def test_the_differences_show_exactly_the_new_ones(versions: Versions) -> None:
    files = json.loads(versions.checkout.dvc("diff", "--json", "v1", "v2"))
    changed = {f"data/{name}" for name in MADE if versions.digests["v1"][name] != versions.digests["v2"][name]}
    assert {"data/responses.parquet", "data/strategies.parquet"} <= changed
    paths = {entry["path"] for entry in files["modified"]}
    assert paths == {"data/problems/", "data/problems/train.parquet", *changed}
    assert (files["added"], files["deleted"], files["renamed"]) == ([], [], [])
    metrics = json.loads(versions.checkout.dvc("metrics", "diff", "--json", "v1", "v2"))["data/strategies.json"]
    assert metrics["kept"]["diff"] == len(versions.added)
    lines = versions.checkout.sgpo("strategies", "diff", "v1", "v2").splitlines()
    unchanged = len(versions.strategies["v1"])
    assert lines == [
        f"{len(versions.added)} added, 0 removed, 0 changed (0 in wording), {unchanged} unchanged",
        *(f"+ {name}" for name in sorted(versions.added)),
    ]


def test_going_back_restores_the_bytes_and_requests_nothing(versions: Versions) -> None:
    checkout = versions.checkout
    for tag in ("v1", "v2"):
        checkout.git("checkout", "--quiet", tag)
        checkout.dvc("checkout", "--with-deps", "strategies")
        assert digests(versions.data) == versions.digests[tag]
        assert "Data and pipelines are up to date." in checkout.dvc("repro", "strategies")
        assert requests(versions.journal) == versions.requests["v2"]
    assert versions.digests["v1"] != versions.digests["v2"]
