"""From sampled rollouts to trained weights.

`loop` is Algorithm 1; `step` asks a method (sgpo/algorithms) for its rows and the loss of its tokens, micro-batch by
micro-batch; `policy`, `sharding` and `world` are the model over the processes; `run` sets everything up. `checkpoints/`
keeps what resuming needs, `recovery/` handles signals, full disks and memory. Needs no prefect, mlflow or dvc.
"""
