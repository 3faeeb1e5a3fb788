"""What a person reads when a flow run has failed, crashed or been cancelled: why, and the command that resumes it."""

import json
import shlex
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger

from flows.runs import run_id_of

MAKES_ITS_RUN_ID_UP = ("retrain", "train")
BEGAN_FROM = "sgpo.champion"
"""Label of a flow run `roll-back` that was given no `champion`: the version that was it when the run looked first."""
ADVICE = {
    "FAILED": "failed. Mend what the message names, then",
    "CRASHED": "crashed. It resumes from what is done by",
    "CANCELLING": "was cancelled. It resumes from what is done by",
    "CANCELLED": "was cancelled. It resumes from what is done by",
}


def tell_what_next(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Publish the artifact `what-next` and a line in the log, as hook of every flow but a larger run's part."""
    if flow_run.parent_task_run_id is not None:
        return
    heading = f"{flow_run.name} {ADVICE[state.type.value]}"
    reason = " ".join((state.message or "").split())
    with get_client(sync_client=True) as client:
        command = rerun_command(flow, client.read_flow_run(flow_run.id))  # with the labels that it has by now
        client.create_artifact(
            ArtifactCreate(
                key="what-next", type="markdown", flow_run_id=flow_run.id, description=f"{flow_run.name}: what next",
                data=f"**{heading}** `{command}`\n\n{reason}\n",
            )
        )  # fmt: skip
    flow_run_logger(flow_run, flow).warning("%s: %s", heading, command)


def rerun_command(flow: Flow[..., Any], flow_run: FlowRun) -> str:
    """Return the same run again; with the run id that it made up, so that it goes on in the same run directory.

    A roll-back is repeated from the version that it began from, so that it does not undo itself.
    """
    parameters = {name: value for name, value in flow_run.parameters.items() if value not in (None, "", [], ())}
    if flow.name in MAKES_ITS_RUN_ID_UP and "run_id" not in parameters and flow_run.expected_start_time:
        parameters["run_id"] = run_id_of(flow.name, flow_run.expected_start_time, str(flow_run.id))
    if BEGAN_FROM in flow_run.labels:
        parameters["champion"] = flow_run.labels[BEGAN_FROM]
    if flow_run.deployment_id is None:
        return f"starting {flow.name} again with {json.dumps(parameters, sort_keys=True)}"
    given = shlex.quote(json.dumps(parameters, sort_keys=True))
    return f"prefect deployment run {flow.name}/{flow.name} --params {given}"
