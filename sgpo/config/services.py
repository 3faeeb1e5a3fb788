"""Where results and runs are sent: MLflow and object storage."""

from typing import Literal

from pydantic import Field, field_validator

from sgpo import names
from sgpo.config.base import Settings, without_password


class TrackingConfig(Settings):
    """Where results go."""

    mlflow_uri: str = Field(
        default="sqlite:///.sgpo/mlflow.db", min_length=1, description="URI of MLflow's tracking and registry"
    )
    artifact_root: str = Field(
        default=".sgpo/mlartifacts", description="Where artifacts of new experiments go, if mlflow_uri is a database"
    )
    experiment: str = Field(default="sgpo", min_length=1, description="MLflow experiment")
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
    """Where runs are stored besides this machine: any endpoint that speaks S3. Off without a bucket.

    Credentials are never settings: boto3 takes them from the environment, a profile or the machine's role.
    """

    bucket: str | None = Field(default=None, min_length=1, description="Bucket for checkpoints and models; null: off")
    prefix: str = Field(default="sgpo", pattern=r"^[\w.-]*(/[\w.-]+)*$", description="Prefix of all keys in the bucket")
    endpoint_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/@?#]+/?$",
        description="The S3 server; null: boto3's default, which is AWS",
    )
    region: str | None = Field(default=None, min_length=1, description="Region; null: boto3's default, or us-east-1")
    checksum: Literal["sha256", "crc32", "none"] = Field(
        default="sha256", description="Checksum by which the server checks uploads; readers always use sha256"
    )
    attempts: int = Field(default=12, ge=1, le=100, description="Attempts of one request, with growing waits")
    timeout_s: float = Field(default=60.0, gt=0.0, description="Seconds without an answer that end an attempt")
    part_mib: int = Field(
        default=16, ge=5, le=5120, description="Larger files are sent and fetched in parts of this size, MiB"
    )
    lease_s: float = Field(default=60.0, ge=1.0, description="Seconds until a dead run's lock may be taken over")
    patience_s: float = Field(
        default=300.0, ge=0.0, description="Seconds that a run waits at its end for an outage to pass"
    )
