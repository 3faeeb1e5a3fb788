"""The scripted strong model behind OpenAI's chat protocol, on loopback: the real client talks to something real."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from sgpo.strategies.teacher.teacher import Completion, Message, TeacherError
from sgpo.testbed.strong_model import ScriptedStrongModel


@asynccontextmanager
async def scripted_endpoint(port: int = 0) -> AsyncIterator[str]:
    """Serve the scripted model while the context lasts; yields the address to give as `teacher.base_url`."""
    runner = web.AppRunner(teacher_application(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def teacher_application() -> web.Application:
    """Return the application: POST /v1/chat/completions and GET /v1/models."""
    application = web.Application(client_max_size=2**24)
    application.add_routes([web.post("/v1/chat/completions", _complete), web.get("/v1/models", _models)])
    return application


def chat_completion(completion: Completion, model: str) -> dict[str, Any]:
    """Return a completion as the protocol's JSON."""
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": completion.text},
                "finish_reason": completion.finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": completion.prompt_tokens,
            "completion_tokens": completion.completion_tokens,
            "total_tokens": completion.prompt_tokens + completion.completion_tokens,
        },
    }


async def _complete(request: web.Request) -> web.Response:
    try:
        body = await request.json()
        messages = [Message(turn["role"], turn["content"]) for turn in body["messages"]]
        completion = ScriptedStrongModel().complete(
            messages, seed=int(body.get("seed", 0)), temperature=float(body.get("temperature", 1.0))
        )
    except (ValueError, LookupError, TypeError, AttributeError, TeacherError) as error:
        refusal = {"message": str(error), "type": "invalid_request_error", "code": None}
        return web.json_response({"error": refusal}, status=400)
    return web.json_response(chat_completion(completion, ScriptedStrongModel.name))


async def _models(request: web.Request) -> web.Response:
    model = {"id": ScriptedStrongModel.name, "object": "model", "created": 0, "owned_by": "sgpo"}
    return web.json_response({"object": "list", "data": [model]})
