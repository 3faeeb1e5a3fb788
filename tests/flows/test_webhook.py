"""Deliveries over real HTTP: genuine ones become events of a real Prefect API, all others are refused and logged."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from registered import move_alias_by_hand, register

from flows import webhook
from flows.deliveries import TOLERANCE_S, RefusedDeliveryError, SeenDeliveries, sign, verify
from flows.process import REPOSITORY
from flows.webhook import Receiver
from sgpo.config import TrackingConfig
from sgpo.registry.promotion import roll_back, set_challenger, set_champion
from sgpo.tracking.client import connect

pytestmark = pytest.mark.slow

SECRET = "the secret of these tests"
RECIPE = "configs/testbed.yaml"


class Delivery(NamedTuple):
    body: bytes
    headers: dict[str, str]


def delivery(entity: str, action: str, data: dict[str, str], secret: str = SECRET, age: float = 0) -> Delivery:
    """As MLflow makes and signs it."""
    from mlflow.webhooks.delivery import _generate_hmac_signature

    body = json.dumps({"entity": entity, "action": action, "timestamp": "2026-11-23T12:00:00+00:00", "data": data})
    identity, timestamp = str(uuid.uuid4()), str(int(time.time() - age))
    headers = {
        "Content-Type": "application/json", "X-MLflow-Delivery-Id": identity, "X-MLflow-Timestamp": timestamp,
        "X-MLflow-Signature": _generate_hmac_signature(secret, identity, timestamp, body),
    }  # fmt: skip
    return Delivery(body.encode(), headers)


class Model(NamedTuple):
    tracking: TrackingConfig
    versions: list[str]

    def alias(self, alias: str = "champion", **settings: Any) -> Delivery:
        data = {"name": self.tracking.registered_model, "alias": alias, "version": "1"}
        return delivery("model_version_alias", "created", data, **settings)

    def tag(self, version: str, value: str, key: str = "sgpo.request") -> Delivery:
        data = {"name": self.tracking.registered_model, "version": version, "key": key, "value": value}
        return delivery("model_version_tag", "set", data)


@pytest.fixture
def model(tmp_path: Path, mlflow_database: Path, request: pytest.FixtureRequest) -> Model:
    """Three versions of the runs a, b and c; b's is the champion, a's was it before."""
    tracking = TrackingConfig(
        mlflow_uri=f"sqlite:///{mlflow_database}", artifact_root=str(mlflow_database.parent / "artifacts"),
        registered_model=f"webhook {request.node.name}",
    )  # fmt: skip
    versions = [register(tracking, tmp_path / name, value) for name, value in (("a", 1.0), ("b", 2.0), ("c", 3.0))]
    for version in versions[:2]:
        set_champion(tracking, version, "test", f"It is version {version}.")
    return Model(tracking, versions)


Answers = list[tuple[int, dict[str, str]]]
Post = Callable[..., Answers]


@pytest.fixture
def post(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Post:
    """Send deliveries one after the other to a receiver that is started for them; its answers."""
    caplog.set_level(logging.INFO, logger="sgpo.webhook")

    def send(tracking: TrackingConfig, *deliveries: Delivery) -> Answers:
        return asyncio.run(_send(Receiver(SECRET, RECIPE, tracking, SeenDeliveries(tmp_path / "seen")), deliveries))

    return send


async def _send(receiver: Receiver, deliveries: tuple[Delivery, ...]) -> Answers:
    runner = web.AppRunner(receiver.application())
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/mlflow"
        answers: Answers = []
        async with aiohttp.ClientSession() as session:
            for body, headers in deliveries:
                async with session.post(url, data=body, headers=headers) as response:
                    told = await response.json() if response.status != 500 else {}
                    answers.append((response.status, told))
        return answers
    finally:
        await runner.cleanup()


def events_about(tracking: TrackingConfig) -> list[tuple[str, dict[str, str]]]:
    """What Prefect has received about the model."""
    from prefect.client.orchestration import get_client

    resource = {"resource": {"id": [f"sgpo.registry.{tracking.registered_model}"]}}
    deadline = time.monotonic() + 20
    with get_client(sync_client=True) as client:
        while not (found := client.request("POST", "/events/filter", json={"filter": resource}).json()["events"]):
            assert time.monotonic() < deadline, "no event in 20 s"
            time.sleep(0.2)
    return [(event["event"], event["payload"]) for event in found]


def test_deliveries_without_our_signature_are_refused_and_logged(
    model: Model, post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    genuine = model.tag("2", "roll-back")
    without = {name: value for name, value in genuine.headers.items() if "Signature" not in name}
    refused = [
        Delivery(genuine.body, without),
        Delivery(genuine.body.replace(b"roll-back", b"promote"), genuine.headers),
        Delivery(genuine.body, genuine.headers | {"X-MLflow-Timestamp": str(int(time.time()) + 1)}),
        Delivery(genuine.body, genuine.headers | {"X-MLflow-Delivery-Id": str(uuid.uuid4())}),
        Delivery(genuine.body, genuine.headers | {"X-MLflow-Signature": "v1,é\x80"}),
        model.alias(secret="another secret of sixteen"),
        model.alias(age=TOLERANCE_S + 5),
        model.alias(age=-TOLERANCE_S - 5),
    ]
    answers = post(model.tracking, *refused)
    assert [status for status, _ in answers] == [401] * len(refused)
    lines = [record.getMessage() for record in caplog.records if record.name == "sgpo.webhook"]
    assert len(lines) == len(refused)
    assert all(line.startswith("refused a delivery from 127.0.0.1: ") for line in lines)
    assert SECRET not in caplog.text


def test_a_replayed_delivery_is_refused_even_after_a_restart(
    model: Model, post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    genuine = model.alias()
    assert [status for status, _ in post(model.tracking, genuine, genuine)] == [200, 409]
    assert post(model.tracking, genuine)[0][0] == 409
    assert caplog.text.count("replayed: this delivery has been taken before") == 2


def test_what_is_remembered_of_deliveries_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = SeenDeliveries(tmp_path / "seen")
    for number in range(50):
        seen.take(f"old {number}")
    assert len(seen) == 50
    later = time.time() + 2 * TOLERANCE_S + 1
    monkeypatch.setattr("flows.deliveries.time.time", lambda: later)
    seen.take("new")
    assert len(seen) == 1


@pytest.mark.usefixtures("prefect_api")
def test_the_tag_promote_asks_for_the_gate_about_the_versions_run(model: Model, post: Post) -> None:
    assert post(model.tracking, model.tag(model.versions[2], "promote"))[0][0] == 202
    ((event, payload),) = events_about(model.tracking)
    assert event == "sgpo.registry.promote-requested"
    assert (payload["run_id"], payload["recipe"]) == ("c", RECIPE)
    assert payload["why"] == "The tag sgpo.request=promote was set on version 3."


@pytest.mark.usefixtures("prefect_api")
def test_the_tag_roll_back_on_the_champion_asks_for_a_roll_back_from_it(model: Model, post: Post) -> None:
    answers = post(model.tracking, model.tag(model.versions[0], "roll-back"), model.tag(model.versions[1], "roll-back"))
    assert [status for status, _ in answers] == [200, 202]
    assert "is not the champion" in answers[0][1]["nothing"]
    ((event, payload),) = events_about(model.tracking)
    assert (event, payload["champion"]) == ("sgpo.registry.roll-back-requested", model.versions[1])


@pytest.mark.usefixtures("prefect_api")
def test_the_champion_alias_moved_to_the_previous_champion_asks_for_a_roll_back(model: Model, post: Post) -> None:
    move_alias_by_hand(model.tracking, model.versions[0])
    assert post(model.tracking, model.alias())[0][0] == 202
    ((event, payload),) = events_about(model.tracking)
    assert (event, payload["champion"]) == ("sgpo.registry.roll-back-requested", model.versions[1])


@pytest.mark.usefixtures("prefect_api")
def test_the_champion_alias_moved_to_another_version_asks_to_record_it(model: Model, post: Post) -> None:
    move_alias_by_hand(model.tracking, model.versions[2])
    assert post(model.tracking, model.alias())[0][0] == 202
    ((event, payload),) = events_about(model.tracking)
    assert (event, payload["version"]) == ("sgpo.registry.champion-moved", model.versions[2])


def test_what_we_do_to_aliases_and_tags_ourselves_starts_nothing(model: Model, post: Post) -> None:
    first, second, third = model.versions
    set_challenger(model.tracking, third)
    roll_back(model.tracking, "test", "Back.")
    own = [
        *(model.alias(alias) for alias in ("champion", "previous", "challenger")),
        model.tag(second, "{}", key="sgpo.last_decision"), model.tag(first, "a", key="sgpo.run_id"),
    ]  # fmt: skip
    assert [status for status, _ in post(model.tracking, *own)] == [200] * len(own)


def test_genuine_deliveries_that_ask_for_nothing_we_know_start_nothing(model: Model, post: Post) -> None:
    other = delivery("model_version_alias", "created", {"name": "another model", "alias": "champion", "version": "1"})
    strange = [
        other, model.tag("2", "retire"), delivery("registered_model", "created", {"name": "x"}),
        delivery("model_version_tag", "set", []),  # pyright: ignore[reportArgumentType]
    ]  # fmt: skip
    answers = post(model.tracking, *strange)
    assert [status for status, _ in answers] == [200] * len(strange)
    assert "expected promote or roll-back" in answers[1][1]["nothing"]


@pytest.mark.usefixtures("prefect_api")
def test_a_delivery_that_could_not_be_acted_on_may_come_again(model: Model, post: Post) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    request = model.tag(model.versions[1], "roll-back")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        ((status, answer),) = post(model.tracking, request)
        assert status == 503
        assert "sgpo.registry.roll-back-requested not sent" in answer["later"]
    assert [status for status, _ in post(model.tracking, request, request)] == [202, 409]
    assert len(events_about(model.tracking)) == 1


@pytest.mark.usefixtures("prefect_api")
def test_a_delivery_that_met_an_error_of_ours_may_come_again(model: Model, post: Post) -> None:
    """MLflow sends again what was answered with 500: here a record that somebody has edited, until it is mended."""
    client, name = connect(model.tracking), model.tracking.registered_model
    request = model.tag(model.versions[1], "roll-back")
    client.set_registered_model_tag(name, "sgpo.history.000003", "{}")
    ((status, _),) = post(model.tracking, request)
    assert status == 500
    client.delete_registered_model_tag(name, "sgpo.history.000003")
    assert [status for status, _ in post(model.tracking, request, request)] == [202, 409]


@pytest.mark.parametrize("secret", ["short"])
def test_without_a_secret_the_receiver_does_not_start(secret: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.webhook", "--seen", str(tmp_path / "seen")], cwd=REPOSITORY, text=True,
        capture_output=True, env={"PATH": "", "SGPO_WEBHOOK_SECRET": secret, "PREFECT_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"SGPO_WEBHOOK_SECRET: {len(secret)} characters (expected a secret of at least 16)")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that receivers register, which are not started."""
    addresses: list[str] = []
    monkeypatch.setenv("SGPO_WEBHOOK_SECRET", SECRET)
    monkeypatch.setattr(webhook, "register_webhook", lambda _, url, __: addresses.append(url))
    monkeypatch.setattr(web, "run_app", lambda *_, **__: None)
    return addresses


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_receiver_on_every_address_is_registered_by_the_one_that_it_is_given(
    host: str, registered: list[str], tmp_path: Path
) -> None:
    start = partial(webhook.main, host, 4280, RECIPE, tmp_path / "seen", f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(SystemExit, match=r"expected --address") as refused:
        start()
    assert "\n" not in str(refused.value)
    assert registered == []
    start("http://receiver.example:4280/")
    assert registered == ["http://receiver.example:4280/mlflow"]


@pytest.mark.parametrize(("host", "there"), [("10.0.0.5", "10.0.0.5"), ("::1", "[::1]")])
def test_a_receiver_on_one_address_is_registered_by_it(
    host: str, there: str, registered: list[str], tmp_path: Path
) -> None:
    webhook.main(host, 4280, RECIPE, tmp_path / "seen", f"sqlite:///{tmp_path}/mlflow.db", "")
    assert registered == [f"http://{there}:4280/mlflow"]


def test_our_signature_is_mlflows(model: Model) -> None:
    body, headers = model.alias()
    expected = headers["X-MLflow-Signature"]
    assert sign(SECRET, headers["X-MLflow-Delivery-Id"], headers["X-MLflow-Timestamp"], body) == expected


@given(headers=st.dictionaries(
    st.sampled_from(["X-MLflow-Delivery-Id", "X-MLflow-Timestamp", "X-MLflow-Signature"]), st.text(max_size=20)
), body=st.binary(max_size=20))  # fmt: skip
def test_whatever_comes_without_the_secret_is_refused(headers: Mapping[str, str], body: bytes) -> None:
    with pytest.raises(RefusedDeliveryError) as refused:
        verify(SECRET, headers, body, time.time())
    assert refused.value.status == 401
