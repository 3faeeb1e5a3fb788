"""The scripted strong model behind an endpoint that often fails, with a ledger of what it would bill.

    python benchmarks/faulty_endpoint.py LEDGER [--faults 0.2] [--no-idempotency] [--hold 3.0] [--seed 0]

Prints its address and serves until it is killed. A request fails by a draw of its own (a hash of seed and arrival):
429 with Retry-After, 500, 503, an answer that comes too late, a connection dropped before and after the work, a body
that is not JSON, a body cut short. The ledger is one line per request: the kind of fault or "whole", "billed" where an
answer was generated, and the idempotency key. With idempotency a request that was generated before is answered from
memory and not billed again, as gateways do.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
from pathlib import Path
from typing import TextIO

from aiohttp import web

from sgpo.strategies.teacher.teacher import Message
from sgpo.testbed.strong_model import ScriptedStrongModel
from sgpo.testbed.teacher_server import chat_completion

FAULTS = ("429", "500", "503", "late", "dropped before", "dropped after", "not JSON", "cut short")


class FaultyEndpoint:
    """One application's state."""

    def __init__(self, ledger: TextIO, faults: float, idempotent: bool, hold_s: float, seed: int) -> None:
        self._ledger, self._faults, self._idempotent, self._hold_s, self._seed = (
            ledger,
            faults,
            idempotent,
            hold_s,
            seed,
        )
        self._arrivals = 0
        self._generated: dict[str, bytes] = {}

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        self._arrivals += 1
        key = request.headers["Idempotency-Key"]
        fault = self._draw(self._arrivals)
        if fault in ("429", "500", "503", "dropped before"):
            self._note(fault, "unbilled", key)
            if fault == "dropped before":
                return self._drop(request)
            return web.json_response(
                {"error": {"message": "busy", "type": "t", "code": None}}, status=int(fault),
                headers={"Retry-After": "0.05"} if fault == "429" else {},
            )  # fmt: skip
        try:
            whole, billed = self._generate(await request.json(), key)
        except ConnectionResetError:  # the client was killed while it sent
            self._note("client gone", "unbilled", key)
            return self._drop(request)
        self._note(fault or "whole", billed, key)
        if fault == "late":
            await asyncio.sleep(self._hold_s)
        if fault == "dropped after":
            return self._drop(request)
        if fault == "not JSON":
            whole = b"<html>upstream error</html>"
        if fault == "cut short":
            whole = whole[: len(whole) // 2]
        return web.Response(body=whole, headers={"Content-Type": "application/json"})

    def _generate(self, body: dict, key: str) -> tuple[bytes, str]:
        if self._idempotent and key in self._generated:
            return self._generated[key], "unbilled"
        messages = [Message(turn["role"], turn["content"]) for turn in body["messages"]]
        completion = ScriptedStrongModel().complete(messages, seed=body["seed"], temperature=body["temperature"])
        whole = json.dumps(chat_completion(completion, ScriptedStrongModel.name)).encode()
        if self._idempotent:
            self._generated[key] = whole
        return whole, "billed"

    def _draw(self, arrival: int) -> str | None:
        digest = hashlib.blake2b(f"{self._seed}/{arrival}".encode(), digest_size=8).digest()
        share, which = int.from_bytes(digest[:4]) / 2**32, digest[4]
        return FAULTS[which % len(FAULTS)] if share < self._faults else None

    def _note(self, what: str, billed: str, key: str) -> None:
        self._ledger.write(f"{what}\t{billed}\t{key}\n")
        self._ledger.flush()

    def _drop(self, request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()


async def serve(arguments: argparse.Namespace) -> None:
    """Until killed."""
    with arguments.ledger.open("a", encoding="utf-8") as ledger:
        endpoint = FaultyEndpoint(
            ledger, arguments.faults, not arguments.no_idempotency, arguments.hold, arguments.seed
        )
        application = web.Application(client_max_size=2**24)
        application.router.add_post("/v1/chat/completions", endpoint.complete)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--faults", type=float, default=0.2)
    parser.add_argument("--no-idempotency", action="store_true")
    parser.add_argument("--hold", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
