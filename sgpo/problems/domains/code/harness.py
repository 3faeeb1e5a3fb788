"""What runs in the sandbox: a program, then calls in it, one `repr` per call. It knows no expected value.

It is passed as text to an interpreter without site-packages, so it imports the standard library alone.
"""

import json
import os
import resource
import sys

MOST_CHARACTERS = 20_000


def main() -> None:
    """Read the job from stdin; write the values to what was stdout, which the program does not get."""
    job = json.loads(sys.stdin.buffer.read())
    results, nothing = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    for name, value in job["limits"].items():
        limit = getattr(resource, name)
        _, hard = resource.getrlimit(limit)
        most = value if hard < 0 else min(value, hard)
        resource.setrlimit(limit, (most, most))
    names = {"__name__": "solution"}
    exec(compile(job["source"], "solution.py", "exec"), names)
    values = []
    for call in job["calls"]:
        try:
            values.append(repr(eval(call, names))[:MOST_CHARACTERS])
        except Exception:
            values.append(None)
    os.write(results, json.dumps(values).encode())


if __name__ == "__main__":
    main()
