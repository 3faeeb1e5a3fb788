"""The real services, as an operator and a model owner use them; the tests go through one day in their order.

Up; a champion; a tag in MLflow's registry; a notification; new data; a cancelled training; the secret nowhere; down.
It takes two minutes on two cores, most of them for the servers' start and the retraining's way to its first step.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
import yaml
from registered import move_alias_by_hand, register
from site_of_services import ENDED, Site, free_ports, post, wait_until
from test_webhook import delivery
from tiny_checkout import environment_of, make_tiny_checkout
from warm_python import WarmProcess

from sgpo.config import TrackingConfig
from sgpo.registry import register_model_folder
from sgpo.registry.promotion import aliases, history, set_champion
from sgpo.training.checkpoints.checkpoint import verify_checkpoint

# The limit is that of each test; all else here has limits of its own.
pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]
SECRET = "the-owners-secret-5d1f0c"
SERVICES = ("prefect", "mlflow", "s3", "worker", "webhook")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Iterator[Site]:
    """Up, with the base model as champion (version 1, then 2, then 1 again is for the tests to do)."""
    checkout = make_tiny_checkout(tmp_path_factory.mktemp("site") / "checkout", prefect_database)
    recipe = {
        "processes": 2, "evaluation": {"k": 2}, "checks": {"before_training": False},
        "training": {
            "steps": 100_000, "problems_per_step": 4, "stop_after_equal_steps": None,
            "algorithm": {"type": "sgpo", "autonomous_rollouts": 2, "guided_rollouts": 2},
        },
    }  # fmt: skip
    (checkout / "configs" / "testbed.yaml").write_text(yaml.safe_dump(recipe))
    tracking = TrackingConfig(
        mlflow_uri=f"sqlite:///{checkout}/.sgpo/mlflow.db", artifact_root=str(checkout / ".sgpo" / "mlartifacts")
    )
    ports: dict[str, int] = dict(zip(("prefect", "mlflow", "webhook", "s3"), free_ports(4), strict=True))
    site = Site(checkout, ports, tracking, {"SGPO_WEBHOOK_SECRET": SECRET})
    base = WarmProcess(["-m", "sgpo.cli", "world", "base-model"], checkout, environment_of(checkout))
    try:
        site.up()
        said, _ = base.communicate(timeout=200)
        assert base.returncode == 0, said
        yield site
    finally:
        base.kill()
        site.down()


def test_a_model_owner_rolls_back_by_moving_the_alias_in_mlflow(site: Site, tmp_path: Path) -> None:
    base = register_model_folder(site.tracking, site.checkout / "data" / "base" / "qwen2", {}, "base")
    other = register(site.tracking, tmp_path / "other", 1.0)
    for version in (base, other):
        set_champion(site.tracking, version, "test", "To have two.")
    server = site.tracking.model_copy(update={"mlflow_uri": f"http://127.0.0.1:{site.ports['mlflow']}"})
    move_alias_by_hand(server, base)
    log = site.checkout / ".sgpo" / "services" / "webhook.log"
    wait_until(lambda: [run for run in site.runs("roll-back") if run["state_type"] in ENDED], 90, "a run ends", log)
    (run,) = site.runs("roll-back")
    assert (run["state_type"], run["name"]) == ("COMPLETED", f"roll back from version {other}")
    last = history(site.tracking)[-1]
    assert (last.action, last.before, last.after, last.who) == ("roll_back", other, base, "a model owner in MLflow")
    assert aliases(site.tracking) == {"champion": base, "previous": other}


def test_a_failed_run_tells_people_and_says_how_to_go_on(site: Site) -> None:
    class Inbox(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            site.notifications.append(self.rfile.read(int(self.headers["content-length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            return

    inbox = ThreadingHTTPServer(("127.0.0.1", 0), Inbox)
    threading.Thread(target=inbox.serve_forever, daemon=True).start()
    block = site.python("-c", (
        "from prefect.blocks.notifications import CustomWebhookNotificationBlock as Block\n"
        f"print(Block(name='inbox', url='http://127.0.0.1:{inbox.server_port}', json_data={{'text': '{{{{subject}}}} "
        "{{body}}'}).save('inbox', _sync=True))"
    )).strip()  # fmt: skip
    template = (site.checkout / "flows" / "automations.yaml").read_text()
    filled = site.checkout / ".sgpo" / "automations.yaml"
    filled.write_text(template.replace("00000000-0000-0000-0000-000000000000", block))
    site.python("-m", "prefect", "automation", "create", "--from-file", str(filled))

    run = site.start("promote", run_id="no-such-run")
    wait_until(lambda: site.notifications, 90, "a notification arrives", site.checkout / ".sgpo/services/worker.log")
    inbox.shutdown()
    assert "promote no-such-run: Failed" in site.notifications[0]
    assert "no such run (expected one begun by the flow train or retrain)" in site.notifications[0]
    what_next = wait_until(lambda: site.artifact("what-next", run), 10, "the run says what next")
    assert what_next.startswith("**promote no-such-run failed. Mend what the message names, then** `prefect deployment")


def test_new_data_start_a_retraining_that_can_be_cancelled_in_training(site: Site) -> None:
    log = site.checkout / ".sgpo" / "services" / "worker.log"
    site.python("-m", "flows.events", "data-landed", "24 problems of this test")
    wait_until(lambda: "step    2/100000" in log.read_text(), 200, "training is at step 2", log)
    (run,) = site.runs("retrain")
    run_id = run["name"].removeprefix("retrain ")
    training = [process for process in psutil.process_iter() if _trains(process, run_id)]
    assert len(training) >= 2

    site.prefect(f"flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}, "force": False})
    _, alive = psutil.wait_procs(training, timeout=30)
    assert not alive
    wait_until(lambda: site.runs("retrain")[0]["state_type"] == "CANCELLED", 60, "the run is cancelled", log)
    assert f'"run_id": "{run_id}"' in site.artifact("what-next", run["id"])
    (step,) = _steps(site.checkout / "runs" / run_id)
    verify_checkpoint(site.checkout / "runs" / run_id / "checkpoints" / f"step-{step:06d}")
    assert 2 <= step < 1000


def test_the_probe_of_the_retraining_is_shown_with_intervals(site: Site) -> None:
    tables = {
        key: json.loads(site.prefect("artifacts/filter", {"artifacts": {"key": {"any_": [key]}}})[0]["data"])
        for key in ("probe", "probe-problems")
    }
    assert tables["probe"][-1]["problems"] == "all (8)"
    assert len(tables["probe-problems"]) == 8
    for row in (*tables["probe"], *tables["probe-problems"]):
        for column in ("without strategy", "with strategy", "lift"):
            assert " to " in row[column]


def test_a_forged_or_replayed_delivery_is_refused_by_the_running_receiver(site: Site) -> None:
    url = f"http://127.0.0.1:{site.ports['webhook']}/mlflow"
    data = {"name": "sgpo-testbed", "alias": "champion", "version": "1"}
    forged = delivery("model_version_alias", "created", data, secret="a guess of the secret")
    genuine = delivery("model_version_alias", "created", data, secret=SECRET)
    assert [post(url, *sent)[0] for sent in (forged, genuine, genuine)] == [401, 200, 409]
    log = (site.checkout / ".sgpo" / "services" / "webhook.log").read_text()
    assert "refused a delivery from 127.0.0.1: forged" in log
    assert "refused a delivery from 127.0.0.1: replayed" in log


def test_up_again_says_what_runs_and_starts_nothing(site: Site) -> None:
    before = site.python("-m", "sgpo.cli", "status")
    said = site.up()
    assert [line.split()[0] for line in said.splitlines() if "runs already" in line] == list(SERVICES)
    assert site.python("-m", "sgpo.cli", "status") == before
    assert before.count("runs (process ") == len(SERVICES)


def test_the_page_asks_the_server_that_it_came_from(site: Site) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{site.ports['prefect']}/ui-settings", timeout=60) as answer:
        assert json.load(answer)["api_url"] == site.environment["PREFECT_API_URL"]


def test_servers_listen_on_loopback_only(site: Site) -> None:
    listening = [
        connection.laddr[:2]
        for connection in psutil.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr
    ]
    for name, port in site.ports.items():
        assert {address for address, used in listening if used == port} == {"127.0.0.1"}, name


def test_the_secret_is_in_no_log_parameter_artifact_event_or_database(site: Site) -> None:
    everything = {
        path: site.prefect(path, {}) for path in ("flow_runs/filter", "artifacts/filter", "logs/filter")
    } | {"events": site.prefect("events/filter", {"filter": {}, "limit": 50})}  # fmt: skip
    assert all(everything.values())
    for where, content in everything.items():
        assert SECRET not in json.dumps(content), where
    files = [path for path in site.checkout.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"prefect.db", "mlflow.db", "webhook.log", "worker.log", "mlflow.log", "services.json"} <= names
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in "".join(site.notifications)


def test_down_ends_a_training_in_progress_that_goes_on_and_reports_and_leaves_no_process(site: Site) -> None:
    run_id = site.runs("retrain")[0]["name"].removeprefix("retrain ")
    (cancelled_at,) = _steps(site.checkout / "runs" / run_id)
    run = site.start("train", run_id=run_id)
    log = site.checkout / ".sgpo" / "services" / "worker.log"
    going_on = f"step {cancelled_at + 2:>4}/100000"
    wait_until(lambda: going_on in log.read_text(), 120, f"training is at {going_on}", log)
    site.down()
    assert _of(site.checkout) == []
    assert site.python("-m", "sgpo.cli", "status") == "nothing runs\n"
    step = max(_steps(site.checkout / "runs" / run_id))
    verify_checkpoint(site.checkout / "runs" / run_id / "checkpoints" / f"step-{step:06d}")
    assert step >= cancelled_at + 2
    with closing(sqlite3.connect(site.checkout / ".sgpo" / "prefect" / "prefect.db")) as database:
        (state,) = database.execute("SELECT state_type FROM flow_run WHERE id = ?", (run,)).fetchone()
    assert state == "CRASHED"


def _steps(run: Path) -> list[int]:
    """The steps of a run's checkpoints."""
    return [int(path.name.removeprefix("step-")) for path in (run / "checkpoints").glob("step-*")]


def _trains(process: psutil.Process, run_id: str) -> bool:
    try:
        return f"runs/{run_id}" in process.cmdline()
    except psutil.Error:
        return False


def _of(checkout: Path) -> list[str]:
    """Command lines of processes that work in the checkout or were started by its services."""
    found = []
    for process in psutil.process_iter():
        try:
            marked = str(checkout) in process.environ().get("PREFECT_HOME", "")
            if marked and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except (psutil.Error, OSError):
            continue
    return found
