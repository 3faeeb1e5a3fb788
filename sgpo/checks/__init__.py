"""`sgpo check`: checks everything that a run will need, before anything is spent on it.

`finding` is one line of the table. `model`, `data` (with `verifiers`), `strategies`, `words`, `teacher`, `servers`,
`machine`, `engine` and `samples` are groups of checks, one per file; each is a function that returns findings and never
raises because of what it checks. `check` runs them in order, `table` prints them. `estimate` adds up the time of a
retraining, from the rates of `calibration` with `processes`, `pass_rates`, `gradient_tokens` and `counts`. Nothing here
changes data, registry or runs. Only cli imports this folder; flows call `sgpo check`.
"""

from sgpo.checks.check import Checked, check
from sgpo.checks.finding import Finding

__all__ = ["Checked", "Finding", "check"]
