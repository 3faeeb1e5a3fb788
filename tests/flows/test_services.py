"""Services started and stopped exactly; here they are small web servers, the real ones are in test_operations.py."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_URL

from flows.local.processes import Service, ServicesError, answers, read_started, start_all, stop_all
from flows.local.stack import Ports, deploy, local_services, webhook_key
from sgpo.config import load_config

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "services"
    yield folder
    stop_all(folder, print)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def web_server(name: str, root: Path, **settings: object) -> Service:
    """Serves `root` on loopback, which takes a tenth of a second to start."""
    port = free_port()
    return Service(
        name=name,
        command=[sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(root), str(port)],
        url=f"http://127.0.0.1:{port}",
        healthy=lambda: answers(f"http://127.0.0.1:{port}"),
        port=port,
        **settings,  # pyright: ignore[reportArgumentType]
    )


def program(name: str, code: str, **settings: object) -> Service:
    """A Python program; healthy as soon as it runs."""
    return Service(name=name, command=[sys.executable, "-c", code], url="", healthy=lambda: True, **settings)  # pyright: ignore[reportArgumentType]


def wait_until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited 20 s in vain"
        time.sleep(0.05)


def test_up_twice_starts_once_and_down_stops_what_up_started(folder: Path, tmp_path: Path) -> None:
    services = [web_server("one", tmp_path), web_server("two", tmp_path)]
    first = start_all(services, folder, print)
    said: list[str] = []
    assert start_all(services, folder, said.append) == first
    assert [line.split()[:3] for line in said] == [["one", "runs", "already"], ["two", "runs", "already"]]
    processes = [started.process() for started in first]
    stop_all(folder, print)
    assert not any(process and process.is_running() and process.status() != "zombie" for process in processes)
    assert read_started(folder) == []


def test_each_service_is_healthy_before_the_next_one_starts(folder: Path, tmp_path: Path) -> None:
    first = web_server("first", tmp_path)
    seen: list[bool] = []

    def second_is_healthy() -> bool:
        seen.append(answers(first.url))
        return True

    second = Service("second", [sys.executable, "-c", "import time; time.sleep(60)"], "", second_is_healthy)
    start_all([first, second], folder, print)
    assert seen == [True]


def test_a_service_beside_those_before_it_starts_while_they_do_and_the_next_waits_for_both(
    folder: Path, tmp_path: Path
) -> None:
    """The first is healthy only once the second answers: one after the other they would never start."""
    second = web_server("second", tmp_path, beside=True)
    first = Service(
        "first", [sys.executable, "-c", "import time; time.sleep(60)"], "", healthy=lambda: answers(second.url)
    )
    seen: list[bool] = []

    def third_is_healthy() -> bool:
        seen.append(answers(second.url))
        return True

    third = Service("third", [sys.executable, "-c", "import time; time.sleep(60)"], "", third_is_healthy)
    said: list[str] = []
    start_all([first, second, third], folder, said.append)
    assert [line.split()[0] for line in said] == ["first", "second", "third"]
    assert seen == [True]


def test_what_follows_a_start_is_seen_to_again_when_the_service_runs_already(folder: Path) -> None:
    done: list[str] = []
    for recipe in ("one", "other"):
        service = program("worker", "import time; time.sleep(60)", after=lambda recipe=recipe: done.append(recipe))
        start_all([service], folder, print)
    assert done == ["one", "other"]


def test_a_service_that_fails_shows_its_last_lines_and_those_before_it_are_stopped(
    folder: Path, tmp_path: Path
) -> None:
    kept = web_server("kept", tmp_path)
    start_all([kept], folder, print)
    new = web_server("new", tmp_path)
    broken = program("broken", "import sys; sys.exit('no database at /nowhere')")
    broken = Service(broken.name, broken.command, "", healthy=lambda: False)
    with pytest.raises(ServicesError, match=r"broken: ended while it started: .*\nno database at /nowhere$"):
        start_all([kept, new, broken], folder, print)
    assert answers(kept.url)
    assert not answers(new.url)
    assert [started.name for started in read_started(folder)] == ["kept"]


def test_a_port_that_is_taken_is_named(folder: Path, tmp_path: Path) -> None:
    service = web_server("mlflow", tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", service.port or 0))
        other.listen()
        with pytest.raises(ServicesError, match=rf"mlflow: port {service.port} is taken .*--port-mlflow"):
            start_all([service], folder, print)
    assert read_started(folder) == []


def test_down_does_not_touch_a_stranger_who_has_the_process_id_now(folder: Path, tmp_path: Path) -> None:
    (started,) = start_all([web_server("one", tmp_path)], folder, print)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    wait_until(psutil.Process(stranger.pid).environ)  # in its first moment it has none that could be read
    path = folder / "services.json"
    path.write_text(path.read_text().replace(f'"pid": {started.pid}', f'"pid": {stranger.pid}'))
    stop_all(folder, print)
    assert stranger.poll() is None, "the stranger was stopped"
    stranger.kill()
    stranger.wait()
    assert started.process() is None, "the service, found by its mark, goes on"


def test_what_a_killed_service_leaves_behind_is_stopped_too(folder: Path, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    child = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], start_new_session=True)"
    (started,) = start_all([program("parent", parent)], folder, print)
    wait_until(lambda: pid.is_file() and pid.read_text())
    os.kill(started.pid, signal.SIGKILL)
    wait_until(lambda: not started.alive())
    orphan = psutil.Process(int(pid.read_text()))
    assert orphan.is_running()
    stop_all(folder, print)
    wait_until(lambda: not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE)


def test_children_that_are_ended_first_can_still_report_to_their_parent(folder: Path, tmp_path: Path) -> None:
    report, ready = tmp_path / "report", tmp_path / "ready"
    child = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7));"
        f"open({str(ready)!r}, 'w').close(); time.sleep(60)"
    )
    # As Prefect's worker does, the parent takes the signal as a wish and ends once it has reported.
    parent = (
        "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"code = subprocess.run([sys.executable, '-c', {child!r}]).returncode;"
        f"open({str(report)!r}, 'w').write(str(code))"
    )
    start_all([program("worker", parent, children_first=True)], folder, print)
    wait_until(ready.exists)
    stop_all(folder, print)
    assert report.read_text() == "7"


def test_a_service_that_ignores_the_signal_is_killed(folder: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = (
        f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({str(ready)!r}, 'w'); time.sleep(60)"
    )
    (started,) = start_all([program("stubborn", code, stop_s=0.5)], folder, print)
    wait_until(ready.exists)
    stop_all(folder, print)
    assert not started.alive()


def test_a_damaged_list_of_services_is_one_line(folder: Path) -> None:
    folder.mkdir()
    (folder / "services.json").write_text('{"services": [1]}')
    with pytest.raises(ServicesError, match=r"services\.json: not the list of started services") as error:
        stop_all(folder, print)
    assert "\n" not in str(error.value)
    (folder / "services.json").unlink()


def test_the_key_of_webhook_secrets_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = webhook_key(path)
    assert webhook_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_services_get_loopback_addresses_and_only_the_receiver_gets_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SGPO_WEBHOOK_SECRET", "a secret of this test")
    (tmp_path / "prefect.yaml").touch()
    (tmp_path / ".sgpo" / "services").mkdir(parents=True)
    settings = load_config(None, [f"tracking.mlflow_uri=sqlite:///{tmp_path}/mlflow.db"])
    services = local_services(tmp_path, settings, "configs/testbed.yaml", Ports(1, 2, 3, 4), s3=True)
    assert [service.name for service in services] == ["prefect", "mlflow", "s3", "worker", "webhook"]
    for service in services:
        assert service.port is None or "127.0.0.1" in service.command
        assert ("SGPO_WEBHOOK_SECRET" in service.without) == (service.name != "webhook")
        assert "a secret of this test" not in f"{service.command} {dict(service.environment)}"
    monkeypatch.delenv("SGPO_WEBHOOK_SECRET")
    without = local_services(tmp_path, settings, "configs/testbed.yaml", Ports(1, 2, 3, 4), s3=False)
    assert [service.name for service in without] == ["prefect", "mlflow", "worker"]


@pytest.mark.long
@pytest.mark.usefixtures("prefect_api")
def test_another_recipe_s_model_gets_its_training_limit_and_the_same_recipe_deploys_nothing_again(
    tmp_path: Path,
) -> None:
    methods = tmp_path / "sgpo" / "algorithms"
    for room in ("flows", "sgpo/config", "sgpo/algorithms"):
        (tmp_path / room).mkdir(parents=True)
    (methods / "sgpo.py").touch()
    (tmp_path / ".sgpo" / "services").mkdir(parents=True)
    (tmp_path / "flow.py").write_text("from prefect import flow\n\n@flow\ndef nothing(): pass\n")
    deployment = "{name: services, entrypoint: 'flow.py:nothing', work_pool: {name: of-services}}"
    (tmp_path / "prefect.yaml").write_text(f"pull: []\ndeployments: [{deployment}]\n")
    api, note = PREFECT_API_URL.value(), tmp_path / ".sgpo" / "services" / "deployed"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    client = {"PREFECT_HOME": str(tmp_path / "home"), "PREFECT_API_URL": api, "PATH": path}
    with get_client(sync_client=True) as prefect:
        prefect.create_work_pool(WorkPoolCreate(name="of-services", type="process"))

        def deployed(model: str) -> int:
            """When it was deployed last, after `sgpo up` with that model."""
            deploy(tmp_path, client, api, load_config(None, [f"tracking.registered_model={model}"]))
            assert prefect.read_global_concurrency_limit_by_name(f"training {model}").limit == 1
            return note.stat().st_mtime_ns

        first = deployed("one")
        assert deployed("one") == first
        assert (second := deployed("other")) > first
        (methods / "sgpo.py").write_text("a_new_setting = 1\n")  # the form has its settings
        assert deployed("other") > second


def test_up_outside_of_a_checkout_says_so(tmp_path: Path) -> None:
    with pytest.raises(ServicesError, match=r"prefect\.yaml: no such file"):
        local_services(tmp_path, load_config(None), "configs/testbed.yaml", Ports(1, 2, 3, 4), s3=False)
