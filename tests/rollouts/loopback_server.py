"""A small HTTP server that speaks what sgpo asks of vLLM's: for tests of dispatch, retries and lost servers."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def expected_tokens(prompt: Sequence[int], seed: int) -> list[int]:
    """The answer: a function of prompt and seed alone, as sampling is."""
    digest = hashlib.sha256(json.dumps([list(prompt), seed]).encode()).digest()
    return [value % 50 + 8 for value in digest[: 1 + digest[0] % 8]]


class LoopbackServer:
    """Serves until `stop`. What it is to do wrong is set on it; `answered` has (prompt, seed) of every answer sent."""

    def __init__(self) -> None:
        self.version = "default"
        self.scale = 1.0
        self.loaded: list[str] = []
        self.answered: list[tuple[tuple[int, ...], int]] = []
        self.stop_after: int | None = None  # answers, then the process is gone
        self.failures = 0  # answers that are 503 before the others
        self.stale_answers = 0  # answers that come from other weights
        self.says: dict[str, tuple[int, dict[str, str], bytes]] = {}  # by path: what is said instead of an answer
        self.lock = threading.Lock()
        self.down = False
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner.handle(self, None)

            def do_POST(self) -> None:
                owner.handle(self, json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "null"))

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.down = True
        self.http.shutdown()
        self.http.server_close()

    def handle(self, request: BaseHTTPRequestHandler, body: Any) -> None:
        if self.down:
            request.close_connection = True
            request.connection.close()
            return
        reply = self.reply(request.path, body)
        if reply is None:  # gone in the middle of an answer
            self.down = True
            request.close_connection = True
            request.connection.close()
            threading.Thread(target=self.stop).start()
            return
        status, content = reply
        status, headers, data = self.says.get(request.path, (status, {}, json.dumps(content).encode()))
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def reply(self, path: str, body: Any) -> tuple[int, Any] | None:
        with self.lock:
            if path == "/weight_info":
                return 200, {"weight_version": self.version}
            if path == "/update_weight_version":
                self.version = body["new_version"]
            if path == "/reset_prefix_cache":
                return 200, {"success": True}
            if path == "/collective_rpc":
                return 200, {"results": [self.call(body)]}
            if path == "/inference/v1/generate":
                return self.answer(body)
            return 200, {}

    def call(self, body: Any) -> Any:
        if body["method"] == "scale_logits":
            self.scale = body["args"][0]
        if body["method"] == "reload_weights":
            self.loaded.append(body["kwargs"]["weights_path"])
        return [self.scale]

    def answer(self, body: Any) -> tuple[int, Any] | None:
        if self.failures:
            self.failures -= 1
            return 503, {"error": "busy"}
        if self.stop_after is not None and len(self.answered) >= self.stop_after:
            return None
        prompt, seed = tuple(body["token_ids"]), body["sampling_params"]["seed"]
        self.answered.append((prompt, seed))
        tokens = expected_tokens(prompt, seed)
        version = "another" if self.stale_answers else self.version
        self.stale_answers = max(0, self.stale_answers - 1)
        content = [{"token_id": token, "logprob": -0.5} for token in tokens]
        choice = {
            "token_ids": tokens, "logprobs": {"content": content}, "finish_reason": "length",
            "weight_versions": [{"version": version, "start": 0, "end": len(tokens)}],
        }  # fmt: skip
        return 200, {"choices": [choice]}
