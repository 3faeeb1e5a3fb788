"""Where results and runs go beside this machine: MLflow and object storage."""

from typing import Literal

from pydantic import Field, field_validator

from sgpo import names
from sgpo.config.base import Settings, without_password


class TrackingConfig(Settings):
    """Where results go."""

    mlflow_uri: str = Field(default="sqlite:///.sgpo/mlflow.db", min_length=1, description="Tracking and registry URI")
    artifact_root: str = Field(default=".sgpo/mlartifacts", description="Artifacts of a new experiment on SQLite")
    experiment: str = Field(default="sgpo", min_length=1)
    registered_model: str = Field(default="sgpo-testbed", min_length=1, description="Name in the model registry")

    @field_validator("mlflow_uri")
    @classmethod
    def _address_holds_no_password(cls, address: str) -> str:
        variables = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        return without_password(address, f"{variables} in the environment, or PGPASSWORD for a Postgres database")

    @field_validator("experiment")
    @classmethod
    def _mlflow_takes_the_experiment(cls, name: str) -> str:
        return names.check_experiment(name)

    @field_validator("registered_model")
    @classmethod
    def _the_registry_takes_the_model(cls, name: str) -> str:
        return names.check_registered_model(name)


class StorageConfig(Settings):
    """Where runs are stored beside this machine: any endpoint that speaks S3. Off without a bucket.

    Credentials are never settings: boto3 takes them from the environment, a profile or the machine's role.
    """

    bucket: str | None = Field(default=None, min_length=1, description="Bucket of checkpoints and models; null: off")
    prefix: str = Field(
        default="sgpo", pattern=r"^[\w.-]*(/[\w.-]+)*$", description="What keys in the bucket begin with"
    )
    endpoint_url: str | None = Field(
        default=None, pattern=r"^https?://[^\s/@?#]+/?$", description="The S3 server; null: boto3's own, which is AWS"
    )
    region: str | None = Field(default=None, min_length=1, description="Null: boto3's own; us-east-1 where it has none")
    checksum: Literal["sha256", "crc32", "none"] = Field(
        default="sha256", description="What the server checks uploads by, as far as it can; readers always use sha256"
    )
    attempts: int = Field(default=12, ge=1, le=100, description="Attempts of one request, with growing waits")
    timeout_s: float = Field(default=60.0, gt=0.0, description="Seconds without an answer that end an attempt")
    part_mib: int = Field(default=16, ge=5, le=5120, description="Larger files go up and down in parts of so many MiB")
    lease_s: float = Field(default=60.0, ge=1.0, description="Seconds until the lock of a run that died may be taken")
    patience_s: float = Field(default=300.0, ge=0.0, description="Seconds a run waits at its end for an outage to pass")
