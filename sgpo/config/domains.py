"""Verifiers by domain: what judges problems whose `domain` is not mathematics, or judges a domain in another way."""

from typing import Literal

from pydantic import Field, JsonValue

from sgpo.config.base import Settings

Prompts = Literal["mathematics", "logic", "code"]
"""Which wording the strong model is asked in, and what counts as a leak of the answer."""


class DomainConfig(Settings):
    """One entry of `domains`: the name is the `domain` of problems. Whatever is not named is the domain's own."""

    verifier: str = Field(
        default="", pattern=r"^$|^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$",
        description="Import path, such as my_package.units:judge; empty: the verifier that has the domain's name",
    )  # fmt: skip
    options: dict[str, JsonValue] = Field(default={}, description="Keyword arguments of the verifier")
    threshold: float = Field(
        default=1.0, gt=0.0, le=1.0, description="A verdict with a score is correct from this score on"
    )
    timeout_s: float | None = Field(
        default=None, gt=0.0, description="Seconds for one verdict; null: evaluation.verifier_timeout"
    )
    memory_mb: int = Field(default=1024, ge=64, description="Megabytes of data that a worker process may hold")
    prompts: Prompts | None = Field(
        default=None, description="Prompts and leak checks of strategies; null: the domain's own, or else logic"
    )


Domains = dict[str, DomainConfig]
