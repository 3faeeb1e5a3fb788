"""reasoning-gym (the extra `reasoning`): procedural tasks as a source of problems, and their own scorers as verifier.

`tasks` finds a task and checks its options, `source` draws problems, `repeatable` has another process draw them again,
`judge` scores an answer, unless `plain_answers` says that scoring would run it. The package is imported in functions
only: it takes seconds, and most users have none.
"""
