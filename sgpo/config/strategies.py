"""Settings of strategy extraction: what is requested, from whom, and what may be spent."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from sgpo.config.base import Settings, without_password


class StrategyConfig(Settings):
    """From problems to strategies [docs/method.md section 2]; the paper's five candidates by default."""

    seed: int = Field(default=0, ge=0, description="Seed of all requests")
    candidates: int = Field(default=5, ge=1, le=64, description="Candidate strategies per response")
    tries: int = Field(default=3, ge=1, le=64, description="Attempts at an accepted response or ranking")
    max_words: int = Field(default=160, ge=20, le=2000, description="Longer strategies are refused")
    # DeepSeek-R1's usage notes recommend 0.5-0.7, and warn of endless repetition when greedy.
    temperature: float | None = Field(
        default=0.6, ge=0.0, le=2.0, description="The teacher's sampling temperature; null: not sent"
    )
    refused_at_start: int | None = Field(
        default=20, ge=1, description="End the run if this many first answers are all refused; null: never"
    )


class TeacherConfig(Settings):
    """The strong model, and what may be spent on it. Prices and budget are in one currency of your choice."""

    kind: Literal["scripted", "openai", "recorded", "plugin"] = Field(
        default="scripted",
        description="The testbed's own teacher, an endpoint with OpenAI's protocol, a file of recorded answers, "
        "or a class of your own",
    )
    recording: Path | None = Field(
        default=None, description="JSONL file of responses, candidates and scores by problem id; for kind recorded"
    )
    plugin: str = Field(
        default="", pattern=r"^$|^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="Import path such as my_package.teacher:MyTeacher; for kind plugin",
    )  # fmt: skip
    base_url: str = Field(default="", description="The endpoint's address, including /v1")
    model: str = Field(default="scripted-strong-model", min_length=1, description="The endpoint's name of the model")
    api_key_env: str = Field(
        default="SGPO_TEACHER_API_KEY", description="Environment variable with the key; empty: no key is sent"
    )
    concurrency: int = Field(default=16, ge=1, le=1024, description="Simultaneous requests")
    max_tokens: int = Field(default=16_384, ge=16, description="Longest answer in tokens, reasoning included")
    length_parameter: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="Name of that parameter; OpenAI's reasoning models refuse max_tokens"
    )
    send_seed: bool = Field(default=True, description="Send the seed; some endpoints refuse it")
    request_timeout_s: float = Field(default=900.0, gt=0, description="Seconds for one attempt at a request")
    total_timeout_s: float = Field(default=3600.0, gt=0, description="Seconds for all attempts at a request")
    attempts: int = Field(default=8, ge=1, le=100, description="Attempts at a request with transient failures")
    prompt_price: float | None = Field(default=None, ge=0, description="Price per million prompt tokens")
    completion_price: float | None = Field(default=None, ge=0, description="Price per million completion tokens")
    budget: float | None = Field(default=None, gt=0, description="Upper limit of the cost of one set of problems")
    budget_tokens: int | None = Field(
        default=None, gt=0, description="Upper limit of the tokens for one set of problems"
    )

    @field_validator("base_url")
    @classmethod
    def _address_holds_no_password(cls, address: str) -> str:
        return without_password(address, "the key in the environment variable that api_key_env names")

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.kind == "openai" and not self.base_url.startswith(("https://", "http://")):
            raise ValueError(f"base_url is '{self.base_url}' (expected the endpoint's http(s) address for kind openai)")
        if (self.kind == "recorded") != (self.recording is not None):
            raise ValueError(
                f"recording is {self.recording or 'null'} for kind {self.kind} "
                "(expected kind recorded with the file that it replays, or another kind without one)"
            )
        if (self.kind == "plugin") != bool(self.plugin):
            raise ValueError(f"plugin is '{self.plugin}' for kind {self.kind} (expected both kind plugin and its path)")
        if self.budget is not None and (self.prompt_price is None or self.completion_price is None):
            raise ValueError("budget needs prompt_price and completion_price (or give budget_tokens)")
        return self
