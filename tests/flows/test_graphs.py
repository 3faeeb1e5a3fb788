"""The two graphs hold together: DVC's stages, Prefect's flows and deployments, and the `sgpo` commands both run."""

from __future__ import annotations

import ast
import asyncio
import shlex
import subprocess
import sys
from typing import Any

import pytest
import typer
import yaml
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from typer.core import TyperGroup

from flows.form import QUESTIONS, make_form
from flows.process import REPOSITORY
from sgpo.cli.main import app
from sgpo.config import load_config

pytestmark = pytest.mark.slow

STAGES: dict[str, Any] = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
DEPLOYMENTS: dict[str, Any] = {
    deployment["name"]: deployment
    for deployment in yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]
}
UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # pyright: ignore[reportAssignmentType]
FLOWS = (
    "extract-strategies", "generate-rollouts", "train", "evaluate", "promote", "roll-back", "set-champion", "retrain",
)  # fmt: skip


FORM = make_form("OfTheTest", tuple(QUESTIONS))
LINE = 125
"""Characters that Prefect's form shows in a line of a window of 1,280 pixels."""


def calls(function: str) -> list[list[Any]]:
    """The literal arguments of every call of `function` in flows/."""
    found = []
    for path in sorted((REPOSITORY / "flows").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function:
                found.append([argument.value for argument in node.args if isinstance(argument, ast.Constant)])
    return found


def parse(arguments: list[str]) -> tuple[str, ...]:
    """Parse as `sgpo` would, running nothing; returns the path of the command. UsageError when it would not."""
    command = typer.main.get_command(app)
    path = []
    while isinstance(command, TyperGroup):
        path.append(arguments[0])
        if arguments[0] not in command.commands:
            raise UsageError(f"no command {arguments[0]}")
        command, arguments = command.commands[arguments[0]], arguments[1:]
    command.make_context(path[-1], list(arguments))
    return tuple(path)


def sgpo_arguments(stage: str) -> list[str]:
    """What follows `sgpo` in the stage's command, which may run in several processes."""
    words = shlex.split(STAGES[stage]["cmd"])
    if words[0] == "torchrun":
        words = words[words.index("-m") :]
        assert words[:2] == ["-m", "sgpo.cli"]
        return words[2:]
    assert words[0] == "sgpo"
    return words[1:]


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_is_one_sgpo_command(stage: str) -> None:
    parse(sgpo_arguments(stage))


def test_the_parse_of_these_tests_refuses_what_is_no_command() -> None:
    for arguments in (["world", "no-such-command"], ["probe", "--no-such-option", "1"], ["train"]):
        with pytest.raises(UsageError):
            parse(arguments)


def test_stages_that_flows_make_exist() -> None:
    made = {call[0] for call in calls("reproduce")}
    assert {"strategies", "probe", "splits"} <= made <= STAGES.keys()


def test_flows_and_stages_train_and_evaluate_by_the_same_commands() -> None:
    stage_commands = {parse(sgpo_arguments(stage))[0] for stage in STAGES}
    # The number of processes comes first, and may be written down.
    flow_commands = {word for call in calls("training_command") for word in call if isinstance(word, str)}
    assert flow_commands == {"check", "train", "evaluate", "warm-up"}
    # A check makes nothing; a first champion's warm-up is no stage, since it makes no data.
    assert flow_commands - {"check", "warm-up"} <= stage_commands


def test_every_input_of_a_stage_is_made_by_a_stage_or_kept_in_git_or_the_champion() -> None:
    made = {_path(out) for stage in STAGES.values() for out in stage["outs"]}
    for name, stage in STAGES.items():
        for dependency in stage["deps"]:
            known = any(dependency == out or dependency.startswith(f"{out}/") for out in made)
            assert known or dependency == "data/champion" or (REPOSITORY / dependency).exists(), (name, dependency)


def test_all_flows_are_deployed_to_the_pool_and_run_one_at_a_time() -> None:
    assert set(DEPLOYMENTS) == set(FLOWS)
    for deployment in DEPLOYMENTS.values():
        assert deployment["work_pool"]["name"] == "sgpo"
        assert deployment["enforce_parameter_schema"] is True
        assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}
        assert deployment["description"]
        assert "sgpo" in deployment["tags"]


def test_deployments_run_in_the_checkout_that_they_were_deployed_from() -> None:
    definition = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())
    assert "pull" not in definition, "a `$PWD` there is the shell's, which need not be the checkout"
    assert not any("pull" in deployment for deployment in DEPLOYMENTS.values())


def test_the_weekly_schedule_has_a_time_zone_and_waits_to_be_turned_on() -> None:
    (schedule,) = DEPLOYMENTS["retrain"]["schedules"]
    assert schedule["timezone"]
    assert schedule["active"] is False
    minute, hour, day, month, weekday = schedule["cron"].split()
    assert minute.isdigit()
    assert hour.isdigit()
    assert (day, month) == ("*", "*")
    assert weekday.isdigit()


@pytest.mark.parametrize("name", FLOWS)
def test_every_field_of_a_form_says_what_it_is(name: str) -> None:
    flow = _flow(name)
    schema = parameter_schema(flow).model_dump()
    assert flow.name == name
    for parameter, field in schema["properties"].items():
        assert field.get("description"), f"{name}: {parameter} has no description"
    for where, field in _fields(schema):
        assert len(field.get("description", "")) <= LINE, f"{name}: {where}: more than a line"
        assert "\n" not in field.get("description", ""), f"{name}: {where}"
    assert set(schema.get("required") or []) <= {"run_id", "version", "why"}
    recipe = schema["properties"].get("recipe", {"default": "configs/testbed.yaml"})["default"]
    load_config(REPOSITORY / recipe)


def test_the_form_has_the_bounds_and_words_of_the_settings() -> None:
    what, how_long = _card("what"), _card("how_long")
    rollouts = what["training_algorithm_autonomous_rollouts"]
    assert (rollouts["type"], rollouts["minimum"], rollouts["maximum"]) == ("integer", 1, 256)
    assert how_long["training_steps"]["description"] == (
        "Sampled batches, each with `minibatches` optimiser steps (at least 0). Empty: the recipe's, else 60"
    )
    assert "(above 0.0, at most 1.0)" in how_long["training_learning_rate"]["description"]
    assert how_long["training_steps"]["title"] == "training.steps"


def test_a_setting_of_a_few_values_is_a_choice_of_the_form() -> None:
    what = _card("what")
    assert what["engine_kind"]["enum"] == ["transformers", "vllm", "vllm-server"]
    method = what["training_algorithm_type"]
    assert method["enum"] == ["grpo", "hpt", "luffy", "sft", "sgpo"]
    assert method["description"].endswith("begins from its own defaults. Empty: the recipe's, else sgpo")
    chosen = FORM.model_validate({"what": {"training_algorithm_type": "luffy", "engine_kind": "vllm"}})
    settings = load_config(REPOSITORY / "configs/testbed.yaml", chosen.overrides())
    assert (settings.training.algorithm.type, settings.engine.kind) == ("luffy", "vllm")
    assert settings.training.algorithm.normalization == "constant"  # pyright: ignore[reportAttributeAccessIssue]


def test_cards_and_fields_say_their_place_because_postgres_does_not_keep_the_order_of_keys() -> None:
    schema = parameter_schema(_flow("retrain")).model_dump()
    parameters = sorted(schema["properties"], key=lambda name: schema["properties"][name]["position"])
    assert parameters == ["recipe", "run_id", "dry_run", "settings", "overrides"]
    cards = schema["definitions"]["RetrainSettings"]["properties"]
    assert sorted(cards, key=lambda name: cards[name]["position"]) == ["what", "how_long", "measured", "promoted"]
    for question, (_, _, settings) in QUESTIONS.items():
        fields = _card(question).values()
        assert [field["title"] for field in sorted(fields, key=lambda field: field["position"])] == list(settings)


def test_an_empty_field_of_the_form_does_not_ask_for_a_type_first() -> None:
    """`anyOf` with null is shown as a choice between `int` and `None`, and a line that says what None is."""
    schema = parameter_schema(_flow("retrain")).model_dump()
    assert [where for where, field in _fields(schema) if "anyOf" in field] == ["settings"]


@pytest.mark.parametrize(
    ("name", "cards"),
    [("train", {"what", "how_long"}), ("evaluate", {"measured"}), ("promote", {"measured", "promoted"})],
)
def test_a_flow_s_form_asks_for_what_the_flow_uses(name: str, cards: set[str]) -> None:
    definitions = parameter_schema(_flow(name)).model_dump()["definitions"]
    assert definitions[f"{name.title()}Settings"]["properties"].keys() == cards


def test_filled_fields_of_the_form_become_settings_and_empty_ones_leave_the_recipe() -> None:
    filled = {"how_long": {"training_steps": 7}, "promoted": {"gate_margin": 0.01}, "measured": {}}
    settings = load_config(REPOSITORY / "configs/testbed.yaml", FORM.model_validate(filled).overrides())
    assert (settings.training.steps, settings.gate.margin) == (7, 0.01)
    assert settings.training.learning_rate == load_config(REPOSITORY / "configs/testbed.yaml").training.learning_rate


@pytest.mark.parametrize(
    "parameters",
    [
        {"run_id": "../elsewhere"},
        {"recipe": "configs/testbed.txt"},
        {"settings": {"how_long": {"training_steps": -1}}},
        {"settings": {"what": {"engine_kind": "sglang"}}},
        {"settings": {"what": {"no_such_setting": 1}}},
        {"settings": {"training_steps": 1}},
        {"overrides": "training.steps=1"},
    ],
)
@pytest.mark.usefixtures("prefect_api")
def test_a_bad_parameter_is_refused_before_a_run_starts(parameters: dict[str, Any]) -> None:
    async def start() -> None:
        async with get_client() as client:
            try:
                deployment = (await client.read_deployment_by_name("retrain/refusals")).id
            except ObjectNotFound:
                flow = _flow("retrain")
                flow_id = await client.create_flow(flow)
                deployment = await client.create_deployment(
                    flow_id, "refusals", enforce_parameter_schema=True,
                    parameter_openapi_schema=parameter_schema(flow).model_dump(),
                )  # fmt: skip
            await client.create_flow_run_from_deployment(deployment, parameters=parameters)

    with pytest.raises(PrefectHTTPStatusError) as refused:
        asyncio.run(start())
    assert refused.value.response.status_code in (409, 422)


def _flow(name: str) -> Flow[..., Any]:
    path, function = DEPLOYMENTS[name]["entrypoint"].split(":")
    return load_flow_from_entrypoint(f"{REPOSITORY / path}:{function}")


def _card(question: str) -> dict[str, Any]:
    """Return the fields of a card of retrain's form."""
    definitions = parameter_schema(_flow("retrain")).model_dump()["definitions"]
    return definitions[f"RetrainSettings_{question}"]["properties"]


def _fields(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return all fields of a form with their names, those of its cards too."""
    found = list(schema["properties"].items())
    for definition in schema.get("definitions", {}).values():
        found += definition.get("properties", {}).items()
    return found


def _path(out: str | dict[str, Any]) -> str:
    return out if isinstance(out, str) else next(iter(out))


def test_flows_do_not_import_torch():
    """Orchestration starts in seconds, and trains in another process, perhaps of another environment."""
    code = (
        "import sys, flows.demonstration, flows.retrain, flows.train\n"
        "sys.exit(' '.join(name for name in ('torch', 'transformers', 'math_verify') if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
