"""Why a response counts or does not, in a reader's words: what is asked of a response depends on its domain."""

from collections.abc import Mapping

from sgpo.problems.domains.registry import MATH

_ANY = {
    "correct": "", "wrong": "another answer", "no_answer": "no stated answer",
    "unparsable": "an answer that cannot be read", "timeout": "judging took too long", "crashed": "judging failed",
}  # fmt: skip
_OF: Mapping[str, Mapping[str, str]] = {
    MATH: {"no_answer": "no boxed answer", "unparsable": "the box holds no mathematics"},
    "choice": {"wrong": "another letter", "unparsable": "not one letter of the choices"},
    "json": {"wrong": "another value", "no_answer": "no stated JSON", "unparsable": "an answer that is not JSON"},
    "reasoning-gym": {"unparsable": "an answer in no form that the task scores"},
    "code": {"wrong": "fails tests", "no_answer": "no fenced program", "unparsable": "a program that is too long"},
}


def reason_in_words(reason: str, domain: str = MATH) -> str:
    """Return a verdict's reason in words for problems of `domain`; nothing for a right answer."""
    return _OF.get(domain, {}).get(reason) or _ANY.get(reason, reason)
