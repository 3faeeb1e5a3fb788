"""Out of memory: the same gradient again in smaller micro-batches, which changes nothing but the order of sums."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from sgpo.errors import UserError
from sgpo.files import write_json
from sgpo.training.world import World

RESTART = os.EX_UNAVAILABLE
"""Exit code of a process that ran out of memory among others: the run resumes when all are started again."""
SMALLEST_BUDGET = 256

ResultT = TypeVar("ResultT")


class OutOfMemoryError(UserError, RuntimeError):
    """Not even the smallest micro-batch fits, or (with several processes) the run must be started again."""

    def __init__(self, message: str, restart: bool) -> None:
        super().__init__(message)
        self.exit_code = RESTART if restart else 1


class MicrobatchBudget:
    """Tokens in one micro-batch: the configured number until memory runs out, then half of it, and so on.

    One process halves and tries again. Among several it cannot: the others are inside a collective by then. It writes
    the smaller budget into `folder` and raises; when the processes are started again (torchrun --max-restarts, a flow's
    retry) all begin with it.
    """

    def __init__(self, tokens: int, folder: Path | None, world: World) -> None:
        """Take the configured number, or what an earlier start of the run has written into `folder`."""
        self.tokens, self._world = tokens, world
        self._file = None if folder is None else folder / "tokens_per_microbatch"
        if self._file is not None and self._file.is_file():
            self.tokens = int(self._file.read_text(encoding="utf-8"))

    def run(self, module: nn.Module, work: Callable[[], ResultT]) -> ResultT:
        """Return `work()`, from its beginning with an empty gradient of `module` each time that memory runs out."""
        while True:
            try:
                return work()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                message = str(error).splitlines()[0]
            self._halve(module, message)

    def _halve(self, module: nn.Module, message: str) -> None:
        budget = self.tokens // 2
        if budget < SMALLEST_BUDGET:
            raise OutOfMemoryError(f"micro-batches of {2 * budget} tokens do not fit ({message})", restart=False)
        self.tokens = budget
        module.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self._file is not None:
            write_json(self._file, budget)
        if self._world.size > 1:
            raise OutOfMemoryError(f"out of memory; start again with {budget} tokens ({message})", restart=True)
        print(f"out of memory: resuming with micro-batches of {budget} tokens", flush=True)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an allocation failed; on the CPU torch says so in a RuntimeError's text."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
