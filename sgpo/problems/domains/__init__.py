"""Verifiers of other domains than mathematics: `Problem.domain` chooses, `registry` finds, `judges` asks in processes.

`worker` is what runs in a process that can be killed; `stated` and `fences` read what a response answers; `exact`,
`choice` and `json_equality` are small verifiers, `reasoning_gym/` and `code/` larger ones, each a folder. `digest` says
that a verifier is other code; `stress` tries one before it may reward anything.
A verifier takes (response, problem) and returns a Verdict; nothing else here imports one.
"""
