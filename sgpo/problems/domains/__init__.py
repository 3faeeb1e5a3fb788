"""Verifiers for domains other than mathematics, selected by `Problem.domain`.

`registry` finds a verifier, `judges` calls it in worker processes, `worker` is what runs in a process that can be
killed. `stated` and `fences` extract a response's answer; `exact`, `choice` and `json_equality` are small verifiers,
`reasoning_gym/` and `code/` larger ones, each a folder. `digest` detects changed verifier code; `stress` tries a
verifier before it may reward anything.
A verifier takes (response, problem) and returns a Verdict; nothing else here imports one.
"""
