"""`python -m flows.local up|down|status`, which `sgpo up` and its kind start."""

from pathlib import Path
from typing import Annotated

import typer

from flows.local.processes import FOLDER, log_file, read_started, start_all, stop_all
from flows.local.recipe import recipe_of
from flows.local.stack import SECRET_VARIABLE, Ports, local_services, s3_environment
from sgpo.cli.main import run
from sgpo.cli.options import AsJson
from sgpo.cli.output import print_json
from sgpo.config import load_config

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The local services.")

Port = typer.Option(min=1, max=65535)


@app.command()
def up(
    s3: Annotated[
        bool, typer.Option("--s3", help="Also start a local S3 (moto; its content is gone after `down`)")
    ] = False,
    recipe: Annotated[
        str | None,
        typer.Option(help="Run recipe, which names MLflow's database and the model; default: prefect.yaml's"),
    ] = None,
    port_prefect: Annotated[int, Port] = 4200,
    port_mlflow: Annotated[int, Port] = 5000,
    port_webhook: Annotated[int, Port] = 4280,
    port_s3: Annotated[int, Port] = 5001,
) -> None:
    """Start Prefect server, MLflow server, worker, and, with SGPO_WEBHOOK_SECRET set, the webhook receiver."""
    root = Path.cwd()
    recipe = recipe or recipe_of(root)
    ports = Ports(prefect=port_prefect, mlflow=port_mlflow, webhook=port_webhook, s3=port_s3)
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    running = start_all(local_services(root, load_config(recipe), recipe, ports, s3=s3), root / FOLDER, _say)
    names = {service.name for service in running}
    prefect = next(service.url for service in running if service.name == "prefect")
    print(f"\nexport PREFECT_API_URL={prefect}/api    # for `prefect …` in this terminal")
    if "s3" in names:
        print("\n".join(f"export {name}={value}" for name, value in s3_environment(ports.s3).items()))
    if "webhook" not in names:
        print(f"No webhook receiver: {SECRET_VARIABLE} is not set (`sgpo down`, set it, `sgpo up`).")
    print(f"Logs: {FOLDER}/*.log   Stop: sgpo down")


@app.command()
def down() -> None:
    """Stop what `sgpo up` started, and nothing else; runs in progress write their checkpoint."""
    if not read_started(Path.cwd() / FOLDER):
        print("nothing runs")
        return
    stop_all(Path.cwd() / FOLDER, _say)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show what `sgpo up` started here, and whether it still runs."""
    started = read_started(Path.cwd() / FOLDER)
    if as_json:
        rows = [{"name": one.name, "pid": one.pid, "url": one.url, "runs": one.alive()} for one in started]
        print_json(rows)
        return
    for service in started:
        state = f"runs (process {service.pid})" if service.alive() else "has ended"
        print(f"{service.name:8} {state:24} {service.url:32} {log_file(FOLDER, service.name)}")
    if not started:
        print("nothing runs")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    run(app)
