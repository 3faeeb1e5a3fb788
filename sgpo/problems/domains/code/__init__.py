"""Code with unit tests: the last fenced block runs in a sandbox, its results are compared outside of it.

`sandbox` is bubblewrap and the limits, `system_calls` what the kernel refuses in it, `harness` what runs in it, `cases`
reads tests, `judge` is the verifier. A model's code runs nowhere else, and never without the sandbox.
"""
