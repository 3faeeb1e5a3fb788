"""infra/Dockerfile and infra/Dockerfile.cuda: hadolint, our own rules, and pins that fit pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from validation import INFRA, REPOSITORY, dockerfile_problems, tool

DOCKERFILES = (INFRA / "Dockerfile", INFRA / "Dockerfile.cuda")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_and_our_rules_accept_the_dockerfile(path: Path) -> None:
    assert tool("hadolint", "--no-color", str(path)) == ""
    assert dockerfile_problems(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("USER 10001:10001\n", "", "the last USER is root"),
        ("USER 10001:10001\n", "USER root\n", "the last USER is root"),
        ("USER 10001:10001\n", "USER 0:0\n", "the last USER is 0:0"),
        ("FROM python:3.11.14-slim-bookworm@sha256:", "FROM python:3.11.14@", "not pinned by a version"),
        ("--constraint constraints.txt ", "", "not constrained"),
        ('ARG PIP_EXTRA_INDEX_URL=""', 'ARG REGISTRY_PASSWORD="x"', "looks like a secret"),
        ("COPY . .", "ADD . .", "COPY does not fetch"),
    ],
)
def test_our_rules_refuse_a_broken_copy(old: str, new: str, problem: str) -> None:
    text = DOCKERFILES[0].read_text(encoding="utf-8")
    assert old in text
    assert any(problem in found for found in dockerfile_problems(text.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("WORKDIR /srv/sgpo", "WORKDIR srv/sgpo", "DL3000"),
        ("ENTRYPOINT [", "ENTRYPOINT tini #[", "DL3025"),
        ("# hadolint ignore=DL3008\n", "", "DL3008"),
        ("apt-get update &&", "cd / &&", "DL3009|DL3003"),
    ],
)
def test_hadolint_refuses_a_broken_copy(old: str, new: str, rule: str, tmp_path: Path) -> None:
    text = DOCKERFILES[0].read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "Dockerfile"
    path.write_text(text.replace(old, new), encoding="utf-8")
    assert re.search(rule, tool("hadolint", "--no-color", str(path)))


def requirements(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pins(path: Path) -> dict[str, str]:
    pinned = [line.split("==") for line in requirements(path)]
    assert all(len(pin) == 2 for pin in pinned), f"{path.name}: a line that is no exact version"
    return {canonicalize_name(name): version for name, version in pinned}


@pytest.mark.parametrize(
    ("constraints", "extras", "more"),
    [
        (REPOSITORY / "constraints.txt", ("ops",), INFRA / "requirements.txt"),
        (INFRA / "training-constraints.txt", ("lora", "vllm"), INFRA / "training-requirements.txt"),
    ],
    ids=["orchestration", "training"],
)
def test_what_an_image_installs_is_pinned_within_what_is_asked_for(
    constraints: Path, extras: tuple[str, ...], more: Path
) -> None:
    pinned, environment = pins(constraints), {**default_environment(), "python_version": "3.11"}
    asked = [
        *PROJECT["dependencies"],
        *(name for extra in extras for name in PROJECT["optional-dependencies"][extra]),
        *requirements(more),
    ]
    for requirement in map(Requirement, asked):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            version = pinned.get(canonicalize_name(requirement.name))
            assert version is not None, f"{requirement.name} is not in {constraints.name}"
            assert version in requirement.specifier, f"{requirement.name} {version} is not {requirement.specifier}"


def test_both_environments_have_the_same_torch_mlflow_and_ranges() -> None:
    one, other = pins(REPOSITORY / "constraints.txt"), pins(INFRA / "training-constraints.txt")
    assert {name: one[name] for name in ("torch", "mlflow", "safetensors")} == {
        name: other[name] for name in ("torch", "mlflow", "safetensors")
    }
    assert set(requirements(INFRA / "training-requirements.txt")) <= set(PROJECT["optional-dependencies"]["ops"])


def test_constraints_are_sorted_by_name() -> None:
    for path in (REPOSITORY / "constraints.txt", INFRA / "training-constraints.txt"):
        names = [line.partition("==")[0].lower() for line in requirements(path)]
        assert names == sorted(set(names))


def test_the_images_are_built_from_files_that_exist_and_never_from_secrets() -> None:
    one, other = ((INFRA / f"{path.name}.dockerignore").read_text(encoding="utf-8") for path in DOCKERFILES)
    assert one == other
    lines = [line for line in one.splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"  # everything is left out, but for what follows
    for line in lines[1:-1]:
        assert line.startswith("!")
        assert (REPOSITORY / line[1:]).exists(), f"{line[1:]}: no such file"
    assert not {"!.", "!infra", "!.dvc", "!.git"} & set(lines)


def test_programs_write_their_state_where_a_read_only_root_lets_them() -> None:
    text = DOCKERFILES[0].read_text(encoding="utf-8")
    for variable in ("HOME", "PREFECT_HOME", "DVC_SITE_CACHE_DIR"):  # DVC's default is in /var
        assert re.search(rf" {variable}=/tmp\b", text)


def test_the_images_carry_the_project_s_version() -> None:
    version = PROJECT["version"]
    for path in sorted(INFRA.rglob("*")):
        if path.suffix in (".yml", ".yaml", ".json", ".cuda") or path.name == "Dockerfile":
            found = set(re.findall(r"\bsgpo(?:-cuda)?:(\d+\.\d+\.\d+)", path.read_text(encoding="utf-8")))
            assert found <= {version}, f"{path}: {found}"
