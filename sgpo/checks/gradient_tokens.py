"""What a problem's gradient costs, in tokens with a backward: responses behind a prompt that they may share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PromptAndResponse:
    """Mean tokens of a prompt, of what a strategy adds to it, and of a response."""

    prompt: float
    strategy: float
    response: float

    def together(self, responses: float, shared: bool) -> float:
        """Return the tokens of so many responses behind the prompt, which they share or each have."""
        return (1.0 if shared else responses) * self.prompt + responses * self.response


def trained_tokens(
    lengths: PromptAndResponse, autonomous: int, share: float, reached: float, candidates: float, shared: bool
) -> float:
    """Return what a problem's gradient costs, in tokens with a backward; three tokens of a forward make one.

    `share` of problems have `autonomous` responses whose rewards differ; `reached` of them have a target, which lies
    behind the same prompt and needs a forward with its strategy; `candidates` are scored where there are several.
    """
    policy = share * lengths.together(autonomous, shared) if autonomous else 0.0
    alone = 1.0 - share if shared and autonomous else 1.0  # a shared prompt is there already
    target = reached * (lengths.response + alone * lengths.prompt)
    guide = reached * (lengths.prompt + lengths.strategy + lengths.response)
    scored = lengths.together(candidates, shared) if candidates > 1 else 0.0
    return policy + target + (guide + scored) / 3.0
