"""Counts, seconds and tokens as a person says them."""


def counted(number: int, one: str) -> str:
    """Return a count of things: 1 run, 2 runs, 0 runs."""
    return f"{number} {one}{'' if number == 1 else 's'}"


def shown_time(seconds: float) -> str:
    """Return seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def shown_tokens(tokens: float) -> str:
    """Return a number of tokens as a person says it: 8,200, or 1.24M."""
    return f"{tokens:,.0f}" if tokens < 1e5 else f"{tokens / 1e6:.2f}M"
