"""The first answers of a pass: where all of them are refused, the rest is not paid for."""

from collections.abc import Sequence

from sgpo.strategies.refusals import RefusedText

_SHOWN_CHARACTERS = 200


class FirstAnswers:
    """Looks at a pass until one of its answers was accepted, or `most` were refused (None: never).

    Up to then no more problems are asked than are needed for that many answers, `answers_each` of a problem.
    """

    def __init__(self, most: int | None, answers_each: int, at_once: int) -> None:
        self._most, self._answers_each, self._at_once = most, answers_each, at_once
        self._refused: list[RefusedText] = []
        self._looking = most is not None

    def at_once(self) -> int:
        """Return how many problems may be asked at once now."""
        if not self._looking or self._most is None:
            return self._at_once
        missing = self._most - len(self._refused)
        return min(self._at_once, max(1, -(-missing // self._answers_each)))

    def all_refused(self, refused: Sequence[RefusedText], accepted: bool) -> bool:
        """Take in a problem's refused answers, and whether one was accepted; returns whether to stop."""
        if not self._looking or self._most is None:
            return False
        answers = [text for text in refused if text.stage != "problem" and text.index is not None]
        self._refused += [text for text in answers if text.reason != "no_record"]  # nothing was answered, or paid
        self._looking = not accepted
        return self._looking and len(self._refused) >= self._most

    def describe(self) -> str:
        """Return one line with three examples: problem id, reason, and how the answer begins."""
        number = len(self._refused)
        shown = (self._refused[place] for place in sorted({0, number // 2, number - 1}))
        examples = "; ".join(f"{text.problem_id}: {text.reason}, {_shown(text)}" for text in shown)
        return (
            f"the first {number} answers were all refused, so nothing more was asked "
            f"(strategies.refused_at_start=null would go on): {examples}"
        )


def _shown(refused: RefusedText) -> str:
    """Return what the refusal says before it quotes, and the answer's first characters."""
    if not refused.text:
        return refused.detail
    return f"{refused.detail.partition(':')[0]}: {' '.join(refused.text[:_SHOWN_CHARACTERS].split())!r}"
