"""Code with unit tests: the last fenced block runs in a sandbox, and its results are compared outside.

`sandbox` is bubblewrap and the limits, `system_calls` what the kernel refuses inside, `harness` what runs inside,
`cases` reads tests, `judge` is the verifier. A model's code runs nowhere else, and never without the sandbox.
"""
