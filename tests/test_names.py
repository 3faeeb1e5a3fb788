"""Names that a person chooses are refused when read; names made from data are taken by the system they are for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.utils import validation as mlflow_rules
from prefect.client.schemas.actions import ArtifactCreate
from pydantic import TypeAdapter, ValidationError

from flows.parameters import RunName
from sgpo import names
from sgpo.config import ConfigError, load_config
from sgpo.tracking.tracker import evaluation_metric

TEXTS = st.text(max_size=40) | st.sampled_from(
    ["math/500", "aime@24", "数学", "a b", "level: 3", "", ".", "..", "Ünit", "x" * 300]
)


@given(TEXTS, TEXTS)
def test_any_tier_makes_a_metric_s_name_that_mlflow_takes_and_no_two_make_the_same(one: str, other: str) -> None:
    name = evaluation_metric(one, 4)
    assert names.check_metric(name) == name
    mlflow_rules._validate_metric_name(name)
    assert (one == other) == (name == evaluation_metric(other, 4))


@given(TEXTS)
def test_a_registered_model_s_name_that_is_taken_is_taken_by_mlflow(name: str) -> None:
    try:
        names.check_registered_model(name)
    except ValueError:
        return
    mlflow_rules._validate_model_name(name)
    mlflow_rules._validate_logged_model_name(names.logged_model_name(name))


@given(TEXTS)
def test_an_experiment_s_name_that_is_taken_is_taken_by_mlflow(name: str) -> None:
    try:
        names.check_experiment(name)
    except ValueError:
        return
    mlflow_rules._validate_experiment_name(name)


@given(st.from_regex(names.RUN_NAME, fullmatch=True))
def test_a_run_s_id_is_taken_by_every_system(run_id: str) -> None:
    assert names.is_stored_name(f"runs/{run_id}/model")
    assert "/" not in run_id
    mlflow_rules._validate_logged_model_name(names.logged_model_name(run_id))


@given(st.text(alphabet="aB-é 1/_", min_size=1).filter(names.artifact_key))
def test_an_artifact_s_key_is_taken_by_prefect(text: str) -> None:
    ArtifactCreate(key=names.artifact_key(text), data="")


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("registered_model", "team/math"), ("registered_model", "math:7b"), ("registered_model", "math@champion"),
        ("registered_model", ".."), ("registered_model", " math"), ("registered_model", "m" * 257),
        ("experiment", "sgpo\\n"), ("experiment", "e" * 501),
    ],
)  # fmt: skip
def test_a_name_that_mlflow_refuses_is_refused_when_the_recipe_is_read(setting: str, wrong: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(None, [f'tracking.{setting}="{wrong}"'])
    assert f"tracking.{setting}" in str(refused.value)
    assert "expected one like" in str(refused.value)


def test_the_shipped_names_with_dots_are_taken() -> None:
    assert load_config(None, ["tracking.registered_model=math-qwen2.5-1.5b"]).tracking.registered_model
    assert names.logged_model_name("math-qwen2.5-1.5b") == "math-qwen2-5-1-5b"
    with pytest.raises(MlflowException):
        mlflow_rules._validate_logged_model_name("math-qwen2.5-1.5b")


@pytest.mark.parametrize("wrong", ["Ünit", "a/b", "-x", "", "x" * 129, "a b", "a\n"])
def test_a_run_s_id_that_storage_would_refuse_is_refused_at_the_form(wrong: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(RunName).validate_python(wrong)
    assert not names.is_run_name(wrong)
