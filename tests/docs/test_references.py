"""Pages refer to what is there: links, headings, paths, settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from sgpo.algorithms import registry
from sgpo.config import AlgorithmSettings, RunConfig
from sgpo.config.pipeline import PipelineParams

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("infra/**/*.md")])
PATH = r"`((?:sgpo|flows|tests|benchmarks|tools|configs|infra|docs)/[\w./-]+)`"
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))


def headings(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to a page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


@pages
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in headings(file), target


@pages
def test_paths_in_the_repository_exist(page):
    text = page.read_text(encoding="utf-8")
    if page.name == "CHANGELOG.md":  # it names what was there
        text = text.split("## [0.1.0]")[0].split("### Removed")[0]
    for path in re.findall(PATH, text):
        assert (REPOSITORY / path).exists(), path


def test_paths_that_the_code_names_exist():
    rooms = ("sgpo", "flows", "benchmarks", "tools")
    for file in sorted(path for room in rooms for path in (REPOSITORY / room).rglob("*.py")):
        for path in re.findall(PATH, file.read_text(encoding="utf-8")):
            assert (REPOSITORY / path).exists(), f"{file.relative_to(REPOSITORY)}: {path}"


@pages
def test_settings_are_settings(page):
    if page.name == "CHANGELOG.md":
        return
    fields = RunConfig.model_fields | PipelineParams.model_fields
    for name in re.findall(r"`([a-z_]+(?:\.[a-z_0-9]+)+)(?:=[^`]*)?`", page.read_text(encoding="utf-8")):
        if name.split(".")[0] in fields and not name.endswith((".py", ".json", ".jsonl", ".parquet", ".yaml")):
            assert is_setting(name), name


def is_setting(name: str) -> bool:
    first, *others = name.split(".")
    models: list[type] = [model for model in (RunConfig, PipelineParams) if first in model.model_fields]
    for part in (first, *others):
        known = [model.model_fields[part].annotation for model in models
                 if issubclass(model, BaseModel) and part in model.model_fields]  # fmt: skip
        if not known:
            return False
        models = []
        for annotation in known:
            kinds = getattr(annotation, "__args__", (annotation,))
            models += [kind for kind in kinds if isinstance(kind, type)]
            if AlgorithmSettings in kinds:
                models += [registry.method(method).settings_class for method in registry.names()]
    return True
