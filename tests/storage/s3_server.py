"""A reverse proxy before a real S3 server, which answers wrongly when it is told to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from aiohttp import ClientSession, web
from yarl import URL

Fault = str | None
"""`500` or another status; `drop` closes the connection unheard, `lose` does so after the server did what was asked;
`hang` never answers."""


SECRET = "not-to-be-seen-anywhere"


class FaultyProxy:
    """`fault(method, path)` decides about each request; None lets it through. `seen` has every request that came."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self.fault: Callable[[str, str], Fault] = lambda method, path: None
        self.seen: list[tuple[str, str]] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(30)

    async def _serve(self) -> None:
        self._loop, self._stopped, self._writes = asyncio.get_running_loop(), asyncio.Event(), asyncio.Lock()
        application = web.Application(client_max_size=2**30)
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        async with ClientSession(auto_decompress=False) as self._session:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            self._ready.set()
            await self._stopped.wait()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.path_qs))
        fault = self.fault(request.method, request.path)
        body = await request.read()
        if fault == "hang":
            await self._stopped.wait()
        if fault in ("drop", "hang"):
            return self._closed(request)
        if fault is not None and fault.isdecimal():
            code = "ServiceUnavailable" if fault == "503" else "InternalError" if fault == "500" else "AccessDenied"
            return web.Response(
                status=int(fault), content_type="application/xml",
                text=f"<Error><Code>{code}</Code><Message>as told</Message></Error>",
            )  # fmt: skip
        if any(name in request.headers for name in ("If-Match", "If-None-Match")):
            async with self._writes:  # atomic, as a real server's are and moto's are not
                answer = await self._forward(request, body)
        else:
            answer = await self._forward(request, body)
        return self._closed(request) if fault == "lose" else answer

    async def _forward(self, request: web.Request, body: bytes) -> web.StreamResponse:
        url = URL(self._upstream + request.raw_path, encoded=True)
        headers = {name: value for name, value in request.headers.items() if name != "Expect"}
        async with self._session.request(
            request.method, url, headers=headers, data=body, allow_redirects=False
        ) as answer:
            content = await answer.read()
            kept = {
                name: value for name, value in answer.headers.items()
                if name.lower() not in ("transfer-encoding", "connection", "content-length")
            }  # fmt: skip
            if request.method == "HEAD":
                kept["Content-Length"] = answer.headers.get("Content-Length", "0")
            return web.Response(status=answer.status, headers=kept, body=content)

    @staticmethod
    def _closed(request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            with suppress(RuntimeError):
                request.transport.abort()
        return web.Response()


def every(number: int, *faults: str) -> Callable[[str, str], Fault]:
    """A fault at every `number`-th request, one kind after the other."""
    count = 0

    def decide(method: str, path: str) -> Fault:
        nonlocal count
        count += 1
        return faults[count // number % len(faults)] if count % number == 0 else None

    return decide


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
