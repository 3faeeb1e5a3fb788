"""`python -m sgpo.training.launch <torchrun's options> -m -- sgpo.cli train …`: torchrun with exit codes that say why.

torchrun itself exits with 1 whatever happened. Here the exit code is that of the first process that failed, and
PREEMPTED when torchrun was asked to stop, so that whoever started it knows whether trying again can help.
"""

import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from sgpo.training.recovery.interruption import PREEMPTED


def main(arguments: list[str] | None = None) -> int:
    """Run torchrun; returns the exit code."""
    try:
        run(parse_args(sys.argv[1:] if arguments is None else arguments))
    except SignalException:
        return PREEMPTED
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        print(f"process {failure.local_rank} exited with {failure.exitcode}", file=sys.stderr, flush=True)
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    return 0


if __name__ == "__main__":
    sys.exit(main())
