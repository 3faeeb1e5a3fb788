"""`sgpo plan`: what a run would take on machines that are not here."""

from pathlib import Path
from typing import Annotated

import typer

from sgpo.cli.options import AsJson
from sgpo.cli.output import print_result


def add_planning(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(plan)


def plan(
    shape: Annotated[str, typer.Option(help="Model folder, or a published model such as qwen2.5-7b")],
    gpus: Annotated[int, typer.Option(help="Number of devices that train")],
    kind: Annotated[str, typer.Option(help="Kind of device: h100, h200, h20, a100, l4, or cpu (with --gflops)")],
    config: Annotated[Path | None, typer.Option(help="Run recipe, such as configs/qwen2.5-7b.yaml")] = None,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Mean tokens of a prompt")] = 200,
    strategy_tokens: Annotated[int, typer.Option(min=0, help="Mean tokens that a strategy adds")] = 150,
    response_tokens: Annotated[
        int | None, typer.Option(help="Mean tokens of a response; default: half of training.sampling.max_new_tokens")
    ] = None,
    guided_pass: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Fraction of guided responses that are right")
    ] = 0.5,
    trained_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Fraction of problems whose autonomous rewards differ")
    ] = 1.0,
    endless_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Fraction of responses that hit the length limit")
    ] = 0.01,
    price: Annotated[float | None, typer.Option(min=0.0, help="Dollars per device and hour")] = None,
    gflops: Annotated[float | None, typer.Option(help="Measured rate of float32 products of a cpu, GFLOP/s")] = None,
    memory_gb: Annotated[float | None, typer.Option(help="Memory of a cpu, GB")] = None,
    as_json: AsJson = False,
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings such as training.steps=100")] = None,
) -> None:
    """Estimate a run's memory, seconds per phase, hours and cost, and what limits it; starts nothing."""
    from sgpo.config import load_config
    from sgpo.planning import describe_plan, find_shape, make_plan
    from sgpo.planning.devices import find_device
    from sgpo.planning.workload import Assumptions

    device = find_device(kind, gflops, memory_gb)
    size, settings = find_shape(shape), load_config(config, overrides or ())
    assumed = Assumptions(prompt_tokens, strategy_tokens, response_tokens, guided_pass, trained_share, endless_share)
    made = make_plan(settings, size, device, gpus, assumed, price)
    print_result(made.as_dict(), lambda: describe_plan(made, shape), as_json)
