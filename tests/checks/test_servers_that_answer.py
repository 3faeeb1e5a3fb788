"""A Prefect that asks who wants to know is there; a sampling server that is not well is not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sgpo.checks.servers import check_servers
from sgpo.config import RunConfig


@pytest.mark.parametrize(("code", "verdicts"), [(200, {"ok"}), (401, {"ok", "wrong"}), (503, {"wrong"})])
def test_an_answer_is_judged_by_who_gives_it(
    code: int, verdicts: set[str], recipe: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("PREFECT_API_URL", f"{address}/api")
        config = recipe("engine.kind=vllm-server", f"engine.urls=['{address}']")
        found = {one.what: one.verdict for one in check_servers(config, None)}
        server.shutdown()
    assert {found["prefect"], found["engine.urls"]} == verdicts
    assert found["prefect"] == ("ok" if code < 500 else "wrong")
