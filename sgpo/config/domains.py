"""Verifiers by domain: for problems whose `domain` is not mathematics, or to judge a domain in another way."""

from typing import Literal

from pydantic import Field, JsonValue

from sgpo.config.base import Settings

Prompts = Literal["mathematics", "logic", "code"]
"""The wording for the strong model, and what counts as a leak of the answer."""


class DomainConfig(Settings):
    """One entry of `domains`; its name is the `domain` of problems. What is not set is the domain's default."""

    verifier: str = Field(
        default="", pattern=r"^$|^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$",
        description="Import path, such as my_package.units:judge; empty: the verifier with the domain's name",
    )  # fmt: skip
    options: dict[str, JsonValue] = Field(default={}, description="Keyword arguments of the verifier")
    threshold: float = Field(
        default=1.0, gt=0.0, le=1.0, description="Lowest score of a verdict that counts as correct"
    )
    timeout_s: float | None = Field(
        default=None, gt=0.0, description="Seconds for one verdict; null: evaluation.verifier_timeout"
    )
    memory_mb: int = Field(default=1024, ge=64, description="Memory limit of a worker process, MB")
    prompts: Prompts | None = Field(
        default=None, description="Prompts and leak checks of strategies; null: the domain's own, or else logic"
    )


Domains = dict[str, DomainConfig]
