"""Fenced blocks of Markdown: the program or the value that a response ends with."""

import re

_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})[^\n`]*$", re.MULTILINE)


def last_block(text: str) -> str | None:
    """Return what stands in the last fence; None without one, and where the last one is not closed."""
    found: str | None = None
    opened = None
    for fence in _FENCE.finditer(text):
        if opened is None:
            opened, found = fence, None
        elif fence[0].strip().startswith(opened[1]) and fence[0].strip("`~ \t") == "":
            found, opened = text[opened.end() : fence.start()].strip("\n"), None
    return found if opened is None and found and found.strip() else None
