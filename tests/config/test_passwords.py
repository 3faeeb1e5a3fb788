"""A password in an address is refused, named by its key, shown nowhere, and has a place in the environment."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from sgpo.config import ConfigError, TrackingConfig, load_config, parse_settings
from sgpo.config.engine import EngineConfig
from sgpo.config.pipeline import PipelineParams


def refusal(key: str, address: str) -> str:
    """The error of that setting, of the recipe or of params.yaml."""
    try:
        if key == "teacher.base_url":
            parse_settings(PipelineParams, {"teacher": {"kind": "openai", "base_url": address}}, "params.yaml")
        else:
            load_config(None, [f"{key}={address}"])
    except ConfigError as refused:
        return str(refused)
    pytest.fail(f"{key} may be {address}")


@pytest.mark.parametrize(
    ("key", "address", "expected"),
    [
        (
            "tracking.mlflow_uri",
            "https://ann:hunter2@mlflow.local",
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASS",
        ),
        ("tracking.mlflow_uri", "https://hunter2@mlflow.local:5000/x", "in the environment"),
        ("tracking.mlflow_uri", "postgresql://mlflow:hunter2@db/mlflow", "or PGPASSWORD for a Postgres database"),
        ("teacher.base_url", "https://ann:hunter2@teacher.local/v1", "environment variable that api_key_env names"),
        ("engine.urls", "['http://one:8000', 'http://ann:hunter2@two:8000']", "expected http://host:port"),
        ("evaluation.engine.urls", "['http://ann:hunter2@two:8000']", "expected http://host:port"),
    ],
)
def test_a_password_in_an_address_is_one_line_that_does_not_show_it(key: str, address: str, expected: str) -> None:
    line = refusal(key, address)
    assert f"'{key}' is " in line
    assert "it holds a password" in line
    assert expected in line
    assert "//***@" in line
    assert "hunter2" not in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("model", "key", "value"),
    [
        (TrackingConfig, "mlflow_uri", "sqlite:////home/ann@work/mlflow.db"),
        (TrackingConfig, "mlflow_uri", "postgresql+psycopg2://mlflow@postgres:5432/mlflow"),
        (TrackingConfig, "mlflow_uri", "http://mlflow:5000"),
        (TrackingConfig, "mlflow_uri", "http://mlflow:5000/of?owner=ann@work"),
    ],
)
def test_addresses_without_a_password_are_taken_as_they_are(model: type[BaseModel], key: str, value: str) -> None:
    assert getattr(model.model_validate({key: value}), key) == value


def test_servers_without_a_password_are_taken_as_they_are() -> None:
    urls = ("http://one:8000", "https://two:8000/v1")
    assert EngineConfig(kind="vllm-server", urls=urls).urls == urls
