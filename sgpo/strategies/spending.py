"""What the teacher costs: tokens and money, and a budget that no request can overstep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sgpo.strategies.settings import TeacherConfig
from sgpo.strategies.teacher import BudgetReachedError, Message

_TOKENS_PER_MESSAGE = 16
"""What a chat template adds to a message, at most."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written by the teacher."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens - other.prompt_tokens,
            self.completion_tokens - other.completion_tokens,
        )

    @property
    def tokens(self) -> int:
        """Both kinds together."""
        return self.prompt_tokens + self.completion_tokens


class Spending:
    """Counts what was used, and keeps requests waiting or refuses them when a budget could be overstepped.

    Before a request is sent, the most that it can cost is reserved: a token for each byte of its messages, and
    `max_tokens` of answer. So the sum of what was used and what is under way never exceeds the budget. What is counted
    are answers: whether an endpoint bills attempts that failed on the way, only its invoice says.
    """

    def __init__(self, config: TeacherConfig) -> None:
        self._config = config
        self._reserved = Usage()
        self._under_way = 0
        self._changed = asyncio.Condition()
        self.used = Usage()

    def cost(self, usage: Usage | None = None) -> float | None:
        """What `usage` (default: all that was used) costs, or None when no prices are set."""
        usage = usage or self.used
        if self._config.prompt_price is None or self._config.completion_price is None:
            return None
        prompt = usage.prompt_tokens * self._config.prompt_price
        return (prompt + usage.completion_tokens * self._config.completion_price) / 1e6

    def most(self, messages: Sequence[Message]) -> Usage:
        """The most tokens that a request can use."""
        prompt = sum(len(message.content.encode()) + _TOKENS_PER_MESSAGE for message in messages)
        return Usage(prompt, self._config.max_tokens)

    @asynccontextmanager
    async def room_for(self, messages: Sequence[Message]) -> AsyncIterator[None]:
        """Wait until the most that a request can use fits the budget, and keep that free while the context lasts.

        Raises BudgetReachedError when it does not fit, whatever the requests under way come to use.
        """
        most = self.most(messages)
        async with self._changed:
            await self._changed.wait_for(lambda: self._fits(most) or self._under_way == 0)
            if not self._fits(most):
                raise BudgetReachedError(self._reached())
            self._reserved += most
            self._under_way += 1
        try:
            yield
        finally:
            self._reserved -= most
            self._under_way -= 1
            async with self._changed:
                self._changed.notify_all()

    def add(self, usage: Usage) -> None:
        """Count what an answer used."""
        self.used += usage

    def describe(self) -> str:
        """Tokens, and the cost where prices are set, in a few words."""
        cost = self.cost()
        return f"{self.used.tokens:,} tokens" + ("" if cost is None else f", cost {cost:.2f}")

    def _fits(self, most: Usage) -> bool:
        total = self.used + self._reserved + most
        if self._config.budget_tokens is not None and total.tokens > self._config.budget_tokens:
            return False
        cost = self.cost(total)
        return self._config.budget is None or (cost is not None and cost <= self._config.budget)

    def _reached(self) -> str:
        limits = {"teacher.budget": self._config.budget, "teacher.budget_tokens": self._config.budget_tokens}
        given = " and ".join(f"{name}={value:,}" for name, value in limits.items() if value is not None)
        return f"{given} leaves no room for another request ({self.describe()} used); raise it, and run again to go on"
