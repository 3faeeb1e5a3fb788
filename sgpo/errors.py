"""The one kind of error that is a message to a person and not a fault of the program."""


class UserError(Exception):
    """A message to a person: one line that names the file, row or key, and what would be right.

    `sgpo` prints it without a traceback and exits with `exit_code`; everything else is a fault and keeps its traceback.
    """

    exit_code = 1


def one_line(error: object, most: int | None = None) -> str:
    """Return what an exception of somebody else's says, in one line of at most `most` characters."""
    return " ".join(str(error).split())[:most]


def first_line(error: object, most: int | None = None) -> str:
    """Return the first line of what an exception says, at most `most` characters: compilers go on for pages."""
    return str(error).strip().split("\n")[0][:most]
