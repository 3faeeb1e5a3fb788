"""Verifiers of other domains than mathematics: `Problem.domain` chooses, `registry` finds, `judges` asks in processes.

`worker` is what runs in a process that can be killed; `exact`, `choice` and `json_equality` are small verifiers,
`reasoning_gym/` and `code/` larger ones, each a folder. `stress` tries a verifier before it may reward anything.
A verifier takes (response, problem) and returns a Verdict; nothing else here imports one.
"""
