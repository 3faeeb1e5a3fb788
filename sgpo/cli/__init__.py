"""`sgpo …`: one command for every stage and every decision.

`main` has the commands of a run, and is the one place where errors become lines and exit codes. `models`, `strategies`,
`registry`, `storage` and `services` are groups of commands, `options` what several share, `output` how a result or a
dry run is printed for a person or a program. Commands import what they need when they run, so that `sgpo --help` is
quick, and contain no logic of their own.
"""
