"""Started by torchrun on every node: joins the process group as training does, and says what it finds there."""

from datetime import timedelta

from sgpo.training.world import open_world

with open_world(timedelta(minutes=2)) as world:
    total = world.sum({"rank": float(world.rank + 1)})["rank"]
    print(f"world of {world.size}, sum {total:.0f}", flush=True)
