"""What the teacher costs: tokens and money, and a budget that no request can overstep."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from sgpo.config.strategies import TeacherConfig
from sgpo.strategies.teacher.teacher import BudgetReachedError, Completion, Message

_TOKENS_PER_MESSAGE = 16
"""What a chat template adds to a message, at most."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written by the teacher."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens)

    def __sub__(self, other: Usage) -> Usage:
        return Usage(self.prompt_tokens - other.prompt_tokens, self.completion_tokens - other.completion_tokens)

    @property
    def tokens(self) -> int:
        """Both kinds together."""
        return self.prompt_tokens + self.completion_tokens


class Spending:
    """Counts what was used, and keeps requests waiting or refuses them when a budget could be overstepped.

    Before a request is sent, the most that it can cost is reserved: a token for each byte of its messages, and
    `max_tokens` of answer. So the sum of what was used and what is under way never exceeds the budget.
    """

    def __init__(self, config: TeacherConfig) -> None:
        self._config = config
        self._reserved = Usage()
        self._under_way = 0
        self._changed = asyncio.Condition()
        self.used = Usage()

    def cost(self, usage: Usage | None = None) -> float | None:
        """Return what `usage` (default: all that was used) costs, or None when no prices are set."""
        usage = usage or self.used
        if self._config.prompt_price is None or self._config.completion_price is None:
            return None
        prompt = usage.prompt_tokens * self._config.prompt_price
        return (prompt + usage.completion_tokens * self._config.completion_price) / 1e6

    def most(self, messages: Sequence[Message]) -> Usage:
        """Return the most tokens that a request can use."""
        prompt = sum(len(message.content.encode()) + _TOKENS_PER_MESSAGE for message in messages)
        return Usage(prompt, self._config.max_tokens)

    async def reserve(self, most: Usage) -> None:
        """Wait until `most` fits the budget; raises BudgetReachedError when it cannot, whatever the others use."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._fits(most) or self._under_way == 0)
            if not self._fits(most):
                raise BudgetReachedError(self._reached())
            self._reserved += most
            self._under_way += 1

    async def release(self, most: Usage) -> None:
        """Give back what was reserved for a request that has ended."""
        async with self._changed:
            self._reserved -= most
            self._under_way -= 1
            self._changed.notify_all()

    def add(self, completion: Completion) -> None:
        """Count a completion."""
        self.used += Usage(completion.prompt_tokens, completion.completion_tokens)

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
