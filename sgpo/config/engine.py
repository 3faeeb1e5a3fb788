"""Which engine samples, and what it may use (docs/rollouts.md)."""

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from sgpo.config.base import Settings, without_password

EngineKind = Literal["transformers", "vllm", "vllm-server"]


class EngineConfig(Settings):
    """The engine that samples rollouts. No setting here changes what is computed, only where and how fast."""

    kind: EngineKind = Field(
        default="transformers",
        description="transformers needs no vLLM; vllm runs inside each training process, vllm-server beside training",
    )
    urls: tuple[str, ...] = Field(
        default=(),
        description="Running servers for vllm-server, such as http://127.0.0.1:8000; none: servers are started",
    )
    replicas: int = Field(default=1, ge=1, le=64, description="Servers to start if no urls are given")
    request_timeout_s: float = Field(default=600.0, gt=0.0, description="Seconds for one response or one weight update")
    start_timeout_s: float = Field(default=480.0, gt=0.0, description="Seconds until a started server must answer")
    attempts: int = Field(
        default=3, ge=1, le=20, description="Attempts of one request before its server counts as lost"
    )
    concurrency: int = Field(default=256, ge=1, le=4096, description="Simultaneous requests to one server")
    cpu_cache_gib: float = Field(default=1.0, gt=0.0, description="vLLM's key-value cache on a CPU, GiB")
    max_model_len: int | None = Field(
        default=None, ge=16,
        description="Longest prompt plus response for vLLM, in tokens; null: the model's positions",
    )  # fmt: skip
    sleep: bool = Field(default=False, description="vLLM in process frees its GPU memory while the policy trains")
    gpu_memory_share: float = Field(
        default=0.4, gt=0.0, lt=1.0, description="Fraction of a GPU's memory for vLLM's weights and cache"
    )
    mismatch_bound: float | None = Field(
        default=None, gt=0.0,
        description="Largest difference of a token's log-probability, engine to trainer, for training to start; "
        "nats; null: 0.001 in float32, 0.25 in bfloat16",
    )  # fmt: skip

    @field_validator("urls")
    @classmethod
    def _urls_hold_no_password(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(without_password(url, "http://host:port, from where no password is asked") for url in urls)

    @model_validator(mode="after")
    def _settings_belong_to_their_kind(self) -> Self:
        if self.urls and self.kind != "vllm-server":
            raise ValueError(f"urls are given but kind is '{self.kind}' (expected kind vllm-server, or no urls)")
        if self.sleep and self.kind != "vllm":
            raise ValueError(f"sleep is true but kind is '{self.kind}' (expected kind vllm, which shares the GPU)")
        for url in self.urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"url '{url}' (expected http://host:port)")
        if len(set(self.urls)) < len(self.urls):
            raise ValueError("urls has one server twice (expected each once)")
        return self

    def positions(self, model_positions: int) -> int:
        """Return what vLLM is to make room for, given the model's own positions."""
        return min(model_positions, self.max_model_len or model_positions)
