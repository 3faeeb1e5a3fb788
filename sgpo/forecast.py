"""What a command would do and how much of it, which is what `--dry-run` prints."""

from dataclasses import dataclass
from typing import Any

NOTHING = "dry run: nothing was written"


@dataclass(frozen=True, slots=True)
class Forecast:
    """What would be done, in sentences, and the amounts that are known.

    `writes` is the folder, file or stored name that would be made. `seconds` is a time on this machine. `tokens` are
    sampled here, or read and written by a strong model in `requests`. `files` and `bytes` are written, sent or fetched.
    `parts` are names of what would be done one after the other, such as the cells of a study.
    """

    writes: str
    sentences: tuple[str, ...]
    seconds: float | None = None
    tokens: int | None = None
    requests: int | None = None
    files: int | None = None
    bytes: int | None = None
    parts: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the sentences and parts, a line each, and the one that says that nothing was written."""
        return [*self.sentences, *self.parts, NOTHING]

    def as_dict(self) -> dict[str, Any]:
        """Return everything for a program; an amount that is not known is null."""
        amounts = {name: getattr(self, name) for name in ("seconds", "tokens", "requests", "files", "bytes")}
        return {
            "dry_run": True,
            "writes": self.writes,
            "says": list(self.sentences),
            **amounts,
            "parts": list(self.parts),
        }
