"""One file per method: what it samples, which rows it trains on, and the loss of a token.

`grpo`, `sgpo`, `luffy`, `hpt` and `sft` each hold a method's settings, defaults and mathematics. `base` is a method's
interface, `rows` the data that it exchanges with the training loop, `registry` finds a method by the name in
`training.algorithm.type`. A new method is a new file here, or a module of your own (docs/extend.md). Nothing here
depends on processes, micro-batches, checkpoints or engines.
"""
