"""`sgpo …`: every stage and every decision as one command.

`main` has the commands of a run and the one place where errors become lines and exit codes; `models`,
`strategies`, `registry`, `storage` and `services` are groups of commands, `options` what several share. Commands import
what they need when they run, so that `sgpo --help` is quick, and hold no logic of their own.
"""
