"""`python -m flows.follow retrain|follow`, which `sgpo retrain` and `sgpo follow` start."""

import os
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from flows.local.processes import FOLDER, read_started
from sgpo.cli.main import run
from sgpo.cli.options import AsJson
from sgpo.cli.output import print_json
from sgpo.errors import UserError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Start and follow retrainings on the server.")

DEPLOYMENT = "retrain/retrain"
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class FollowError(UserError):
    """A server or a run that is not there, or a request that it refuses."""


@app.command()
def retrain(
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings that replace the recipe's, such as training.steps=100")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="Run recipe; default: the deployment's")] = None,
    run_id: Annotated[
        str | None, typer.Option(help="Name of the run directory; an unfinished run resumes; default: by date")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and estimate the cost; train nothing")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Show the retraining until the decision")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a retraining on the server of `sgpo up`; --follow shows it until the decision."""
    given = {"recipe": recipe, "run_id": run_id, "overrides": settings, "dry_run": dry_run or None}
    parameters = {name: value for name, value in given.items() if value is not None}
    if follow and as_json:
        raise FollowError("--follow is for a person, and --json for a program (expected one of them)")
    _connected(lambda client: _ask(client, parameters, follow, as_json))


@app.command("follow")
def follow_run(
    flow_run: Annotated[
        str | None, typer.Argument(help="Id of a flow run, or the run directory's name; default: the newest retraining")
    ] = None,
) -> None:
    """Follow a retraining until the decision; Ctrl-C stops following, not the retraining."""
    _connected(lambda client: _follow(client, _find(client, flow_run)))


def _connected(work: Any) -> None:
    """Do `work` with a client of the server that PREFECT_API_URL names, or else that `sgpo up` has started here."""
    if not os.environ.get("PREFECT_API_URL"):
        started = [one for one in read_started(Path.cwd() / FOLDER) if one.name == "prefect"]
        if not started:
            raise FollowError("no Prefect server is known here (expected `sgpo up`, or PREFECT_API_URL)")
        os.environ["PREFECT_API_URL"] = f"{started[0].url}/api"
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    try:
        with get_client(sync_client=True) as client:
            work(client)
    except typer.Exit:  # a RuntimeError to Python
        raise
    except (httpx.TransportError, RuntimeError) as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise FollowError(f"{os.environ['PREFECT_API_URL']}: Prefect does not answer ({what})") from None
    except httpx.HTTPStatusError as error:
        raise FollowError(
            f"{os.environ['PREFECT_API_URL']}: refused ({_detail(error)}; expected Prefect's API, such as "
            "http://127.0.0.1:4200/api)"
        ) from None
    except ObjectNotFound:
        raise FollowError("the flow run is no longer on the server (expected one that nobody has deleted)") from None


def _ask(client: Any, parameters: dict[str, Any], follow: bool, as_json: bool) -> None:
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

    try:
        deployment = client.read_deployment_by_name(DEPLOYMENT)
        made = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    except ObjectNotFound:
        raise FollowError(f"no deployment {DEPLOYMENT} (expected `sgpo up`, or `prefect deploy --all`)") from None
    except PrefectHTTPStatusError as error:
        raise FollowError(f"{DEPLOYMENT} refuses it: {_detail(error)}") from None
    if as_json:
        print_json({"flow_run": made.id, "name": made.name})
        return
    print(f"{made.name}: asked for. To follow it: sgpo follow {made.id}", flush=True)
    if follow:
        _follow(client, made.id)


def _find(client: Any, named: str | None) -> UUID:
    """Return the flow run with this id, or the newest retraining, or the newest of a run directory."""
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterName
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.exceptions import ObjectNotFound

    if named is not None:
        try:
            return client.read_flow_run(UUID(named)).id
        except ValueError:
            pass
        except ObjectNotFound:
            raise FollowError(f"no flow run {named} on this server (expected one that the server still has)") from None
    names = None if named is None else FlowRunFilter(name=FlowRunFilterName(any_=[f"retrain {named}"]))
    found = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=["retrain"])), flow_run_filter=names,
        sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1,
    )  # fmt: skip
    if not found:
        raise FollowError(f"no retraining{f' {named}' if named else ''} on this server (expected `sgpo retrain`)")
    return found[0].id


def _follow(client: Any, flow_run_id: UUID) -> None:
    from flows.following import Follower, ending_of

    said = [""]

    def say(line: str) -> None:
        print(line, flush=True)
        said[:] = [line]

    try:
        ended = Follower(client, flow_run_id, say).follow()
    except KeyboardInterrupt:
        print(f"\nNo longer followed; the run goes on. To follow it again: sgpo follow {flow_run_id}", flush=True)
        raise typer.Exit(INTERRUPTED) from None
    if (ending := ending_of(ended)) != said[0]:  # a retraining logs its decision too
        say(ending)
    if not (ended.state and ended.state.is_completed()):
        raise typer.Exit(1)


def _detail(error: Exception) -> str:
    """Return what the server says in its answer, in one line."""
    response = getattr(error, "response", None)
    try:
        detail = response.json()["detail"]  # type: ignore[union-attr]
    except (AttributeError, KeyError, TypeError, ValueError):
        detail = str(error)
    return " ".join(str(detail).split())


if __name__ == "__main__":
    run(app)
