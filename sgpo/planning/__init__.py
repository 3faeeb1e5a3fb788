"""What a run would cost on machines that are not here: memory, seconds, hours, and what limits it.

`shapes` is a model's size, `counts` its operations and bytes (benchmarks use them too), `devices` and `efficiency` what
machines do per second. `workload` is a recipe's step in tokens, `memory`, `sampling` and `phases` what the step takes,
`plan` all of it for one recipe. Pure arithmetic without torch, except that the recipe's method is asked what it
samples. Only cli, checks and benchmarks import this folder.
"""

from sgpo.planning.plan import Plan, describe_plan, make_plan
from sgpo.planning.shapes import PlanError, Shape, find_shape, shape_of

__all__ = ["Plan", "PlanError", "Shape", "describe_plan", "find_shape", "make_plan", "shape_of"]
