"""reasoning-gym (the extra `reasoning`): procedural tasks as a source of problems, their scorers as verifier.

`tasks` finds a task and checks its options, `source` draws problems, `repeatable` has another process draw them again,
`judge` scores an answer, unless `plain_answers` says that scoring would execute it. The package is imported only inside
functions: that takes seconds, and most users do not have it.
"""
