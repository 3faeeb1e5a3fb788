"""`sgpo …`: one command for every stage and every decision.

`main` has the commands of a run, and is the one place where errors become lines and exit codes. `models`, `strategies`,
`registry`, `storage` and `services` are groups of commands, `options` what several share. Commands import what they
need when they run, so that `sgpo --help` is quick, and contain no logic of their own.
"""
