"""Started by torchrun on every node: joins the process group as training does, and says what it finds there."""

from sgpo.training.world import open_world

with open_world(timeout_minutes=2.0) as world:
    total = world.sum({"rank": float(world.rank + 1)})["rank"]
    print(f"world of {world.size}, sum {total:.0f}", flush=True)
