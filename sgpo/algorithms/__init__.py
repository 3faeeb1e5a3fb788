"""One method, one file: what it samples, which rows it trains on, and the loss of a token.

`grpo`, `sgpo`, `luffy`, `hpt` and `sft` each hold the settings, the defaults and the mathematics of a method; `base` is
what a method answers, `rows` what passes between a method and the training loop, `registry` finds a method by the name
in `training.algorithm.type`. A new method is a new file here, or a module of one's own (docs/extend.md). Nothing here
knows of processes, micro-batches, checkpoints or engines.
"""
