"""The model folder: weights, head, end tokens, chat template, positions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sgpo.checks.finding import Finding, refusal
from sgpo.config import RunConfig
from sgpo.errors import UserError
from sgpo.rollouts.chat import ChatFormat
from sgpo.rollouts.examination import QUESTION, STRATEGY, check_attention, check_ids
from sgpo.rollouts.lengths import positions_of
from sgpo.rollouts.model_folder import local_folder, open_chat, open_ending_tokenizer, open_model

GROUP = "model"
DAYS = date(2024, 2, 29), date(2031, 11, 30)
"""Two days on which a template must write the same prompt."""


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model that could be opened, in the precision of the recipe, its format of conversations, and what it took."""

    folder: Path
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    chat: ChatFormat
    seconds: float = 0.0


def check_model(source: str | Path, config: RunConfig) -> tuple[list[Finding], OpenedModel | None]:
    """Return what is found about a model folder or hub id, and the model where all of it can be opened."""
    try:
        folder = local_folder(source)
    except UserError as error:
        return [refusal(GROUP, "folder", error)], None
    findings: list[Finding] = []
    begun = time.perf_counter()
    model = _weights(folder, source, config, findings)
    seconds = time.perf_counter() - begun
    tokenizer = chat = None
    try:
        tokenizer = open_ending_tokenizer(folder, source)
        chat = open_chat(folder, tokenizer, config.chat)
    except UserError as error:
        findings.append(refusal(GROUP, "tokenizer" if tokenizer is None else "chat template", error))
    if tokenizer is None or chat is None:
        return findings, None
    findings += [*_template(chat, config), _end_tokens(chat, folder), _begin(chat)]
    findings.append(_positions(folder, chat, config))
    if model is None:
        return findings, None
    try:
        check_ids(source, model, tokenizer, chat)
    except UserError as error:
        return [*findings, refusal(GROUP, "token ids", error)], None
    return findings, OpenedModel(folder, model, tokenizer, chat, seconds)


def _weights(folder: Path, source: str | Path, config: RunConfig, findings: list[Finding]) -> PreTrainedModel | None:
    """Return the model, or None with what is wrong of its weights among the findings."""
    try:
        model = open_model(folder, source, getattr(torch, config.sharding.precision))
        if config.engine.kind == "transformers":
            check_attention(source, model.config)
    except UserError as error:
        findings.append(refusal(GROUP, "weights", error))
        return None
    size = sum(parameter.numel() for parameter in model.parameters())
    findings.append(Finding(GROUP, "weights", "ok", f"{type(model).__name__}, {size:,} parameters, all finite"))
    findings.append(_head(folder, model))
    return model


def _head(folder: Path, model: PreTrainedModel) -> Finding:
    """Compare what the files hold with `tie_word_embeddings`: a head of its own is dropped without a word."""
    tied = bool(model.config.get_text_config().tie_word_embeddings)
    held = dict(_named_tensors(folder, ("lm_head.weight", "embed_tokens.weight")))
    head = next((tensor for name, tensor in held.items() if name.endswith("lm_head.weight")), None)
    embeddings = next((tensor for name, tensor in held.items() if name.endswith("embed_tokens.weight")), None)
    if not tied or head is None or embeddings is None or torch.equal(head, embeddings):
        return Finding(GROUP, "output head", "ok", "tied to the embeddings" if tied else "of its own")
    return Finding(
        GROUP, "output head", "wrong",
        "config.json ties the head to the embeddings, and the files hold a lm_head.weight that is another: it would be "
        "dropped without a word",
        "tie_word_embeddings: false in config.json, or files without lm_head.weight",
    )  # fmt: skip


def _named_tensors(folder: Path, endings: tuple[str, ...]) -> Iterator[tuple[str, torch.Tensor]]:
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                    if name.endswith(endings):
                        yield name, tensors.get_tensor(name)
        except SafetensorError:  # a second copy in another format; the model itself was opened
            continue


def _template(chat: ChatFormat, config: RunConfig) -> list[Finding]:
    one, other = (chat.prompt_on(QUESTION, day) for day in DAYS)
    if one == other:
        notes = "; ".join(chat.notes)
        found = "writes the same prompt on every day" + (f" ({notes})" if notes else "")
        return [Finding(GROUP, "chat template", "ok", found)]
    return [
        Finding(
            GROUP, "chat template", "wrong",
            f"writes another prompt on {DAYS[1]} than on {DAYS[0]}: runs of different days would not be comparable",
            "a template that writes no date, one that asks strftime_now('…') with a written format (chat.date then "
            "holds), or the date under its own name in chat.chat_template_kwargs",
        )
    ]  # fmt: skip


def _end_tokens(chat: ChatFormat, folder: Path) -> Finding:
    def name(index: int) -> str:
        return repr(chat.tokenizer.convert_ids_to_tokens(index))

    ends = ", ".join(name(index) for index in chat.end_ids)
    by_tokenizer, by_generation = chat.tokenizer.eos_token_id, chat.generation_end_ids
    found = f"a response ends at {ends}"
    if chat.turn_end_of_template is None:
        return Finding(
            GROUP, "end tokens", "warning",
            f"{found}; the chat template ends an assistant's turn with no special token, so that the model was "
            "hardly trained to stop there",
            "a chat template whose assistant's turn ends with a special token of the model",
        )  # fmt: skip
    missing = []
    if by_tokenizer != chat.turn_end_of_template:
        missing.append(f"tokenizer ('{chat.tokenizer.eos_token}')")
    if chat.turn_end_of_template not in by_generation:
        held = ", ".join(name(index) for index in by_generation) or "none"
        missing.append(f"generation_config.json ({held})")
    if not missing:
        return Finding(GROUP, "end tokens", "ok", f"{found}; tokenizer, generation config and template agree")
    turn = name(chat.turn_end_of_template)
    verdict = "ok" if len(missing) == 1 else "warning"  # base models: one of both is the end of a document
    return Finding(
        GROUP, "end tokens", verdict, f"{found}; the template ends a turn with {turn}, not so: {' and '.join(missing)}",
        f"eos_token {turn}, or its id in eos_token_id of generation_config.json: other programs stop only there",
    )  # fmt: skip


def _begin(chat: ChatFormat) -> Finding:
    """Exactly one begin token where the tokenizer has one that belongs before a text."""
    begin = chat.tokenizer.bos_token_id
    if not isinstance(begin, int):
        return Finding(GROUP, "begin token", "ok", "the tokenizer has none")
    name = repr(chat.tokenizer.convert_ids_to_tokens(begin))
    counts = {prompt.count(begin) for prompt in (chat.autonomous(QUESTION), chat.guided(QUESTION, STRATEGY))}
    plain: list[int] = chat.tokenizer("a")["input_ids"]  # pyright: ignore[reportAssignmentType]
    if max(counts) > 1 and _begins_turns(chat):
        return Finding(GROUP, "begin token", "ok", f"every turn of a prompt begins with {name}")
    if max(counts) > 1:
        return Finding(
            GROUP, "begin token", "wrong", f"a prompt has {name} {max(counts)} times",
            "a chat template that writes it once, at the start",
        )  # fmt: skip
    if 0 in counts and begin in plain:
        return Finding(
            GROUP, "begin token", "wrong",
            f"the tokenizer puts {name} before every text and the chat template writes none: the model has seen no "
            "prompt without it",
            "a chat template that begins with {{ bos_token }}",
        )  # fmt: skip
    return Finding(GROUP, "begin token", "ok", f"a prompt has {name} {'once' if 1 in counts else 'not at all'}")


def _begins_turns(chat: ChatFormat) -> bool:
    """Return whether the begin token is the template's mark of a turn, as in SmolLM2's: two more turns, two more."""
    begin, question = str(chat.tokenizer.bos_token), {"role": "user", "content": "a"}
    if chat.tokenizer.chat_template is None:
        return False
    one, three = (
        str(chat.tokenizer.apply_chat_template(turns, tokenize=False)).count(begin)
        for turns in ([question], [question, {"role": "assistant", "content": "b"}, question])
    )
    return three - one == 2


def _positions(folder: Path, chat: ChatFormat, config: RunConfig) -> Finding:
    frame = len(chat.guided("", ""))
    wanted = {
        "training.sampling.max_new_tokens": (config.engine, config.training.sampling.max_new_tokens),
        "evaluation.sampling.max_new_tokens": (
            config.evaluation.engine or config.engine, config.evaluation.sampling.max_new_tokens
        ),
    }  # fmt: skip
    room = {name: positions_of(folder, engine) - most - frame for name, (engine, most) in wanted.items()}
    tightest = min(room, key=lambda name: room[name])
    engine, most = wanted[tightest]
    found = f"{positions_of(folder, engine):,} positions, {tightest} {most:,}: {room[tightest]:,} tokens for a question"
    if room[tightest] > 0:
        return Finding(GROUP, "positions", "ok", found)
    return Finding(
        GROUP, "positions", "wrong", found,
        f"{tightest} of at most {max(1, most + room[tightest] - 1):,} less a question's tokens, or a longer "
        "engine.max_model_len or model",
    )  # fmt: skip
