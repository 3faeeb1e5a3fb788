"""What an endpoint's refusal (400, 422) is about: a parameter that a setting decides, or this one prompt."""

import re

import openai

_SETTINGS = {
    "max_tokens": "set teacher.length_parameter to max_completion_tokens",
    "max_completion_tokens": "set teacher.length_parameter to max_tokens",
    "temperature": "set strategies.temperature to null, which sends none",
    "seed": "set teacher.send_seed to false",
}
_NAMED = re.compile(rf"\b({'|'.join(sorted(_SETTINGS, key=len, reverse=True))})\b")
_UNKNOWN = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed|not accept|deprecated", re.I
)
_TOO_LARGE = re.compile(r"too large|too high|at most|less than or equal|maximum|exceeds", re.I)
_OF_THE_PROMPT = re.compile(
    r"context.?(length|window)|string_above_max|content.?(filter|policy|management)|invalid_prompt|safety|input.{0,9}tokens",
    re.I,
)


def setting_to_change(error: openai.APIStatusError) -> str | None:
    """Return which setting decides the parameter that the endpoint refuses; None when it is about something else.

    By `error.param` where the endpoint gives it, else by the first parameter that its message names.
    """
    text = f"{error.code or ''} {error}"
    if error.status_code not in (400, 422) or is_about_the_prompt(error):
        return None
    named = _NAMED.search(text)
    parameter = error.param if error.param in _SETTINGS else named[1] if named else None
    if parameter is None:
        return None
    if _UNKNOWN.search(text) or error.param in ("temperature", "seed"):
        return _SETTINGS[parameter]
    return "lower teacher.max_tokens" if "tokens" in parameter and _TOO_LARGE.search(text) else None


def is_about_the_prompt(error: openai.APIStatusError) -> bool:
    """Whether another prompt may well be answered: this one is too long, or filtered."""
    return error.status_code == 413 or _OF_THE_PROMPT.search(f"{error.code or ''} {error}") is not None
