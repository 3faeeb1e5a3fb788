"""`sgpo check`: everything that a run will need, looked at before anything is spent on it.

`finding` is one line of the table; `model`, `data` (and for it `verifiers`), `strategies`, `words`, `teacher`,
`servers`, `machine`, `engine` and `samples` are groups of checks, one a file, each a function that returns findings and
never raises because of what it looks at; `check` runs them in order, `table` shows them. `estimate` adds up what a
retraining will take, from rates of `calibration`, `processes`, `pass_rates`, `gradient_tokens` and `counts`. Nothing
here changes data, registry or runs; cli and flows (through `sgpo check`) alone use this room.
"""

from sgpo.checks.check import Checked, check
from sgpo.checks.finding import Finding

__all__ = ["Checked", "Finding", "check"]
