"""What the tests of several rooms share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file for MLflow. Making its tables takes seconds, so all tests share it under names of their own."""
    return tmp_path_factory.mktemp("mlflow") / "new folder" / "mlflow.db"
