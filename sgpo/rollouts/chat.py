"""How one model's conversations are written: its prompts, what ends a turn, what opens thinking. The one truth of it.

Sampling, warm-up targets, the export and the verifier all ask here, so that none of them stops at another token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from sgpo.config.chat import ChatConfig
from sgpo.errors import UserError, one_line
from sgpo.problems.responses import is_marker, thinking_opened_by

if TYPE_CHECKING:  # a process that only keeps servers starts without them
    from transformers import PreTrainedTokenizerBase

GUIDED_TEMPLATE = "{strategy}\n\n{question}"
_SAMPLE = "The sample answer."
_CLOCK = re.compile(r"strftime_now\(\s*('[^']*'|\"[^\"]*\")\s*\)")
"""A date that a template asks of the clock, and its format."""
_ASKED = re.compile(r"\bstrftime_now\s*\(")


class ChatFormatError(UserError, ValueError):
    """A chat template that is missing or cannot write a prompt; says what would be right."""


class ChatFormat:
    """Prompts by the tokenizer's chat template, ready for the assistant's turn, and how that turn ends.

    The strategy stands before the question in the user's turn. Only the prompt differs between the two contexts: the
    response's tokens are the same in both. `end_ids` are all tokens that end a response: the tokenizer's end token,
    those of the generation config, and the token with which the template ends an assistant's turn; `turn_end` is the
    one that a response to learn from ends with; `turn_end_of_template` and `generation_end_ids` are what template and
    generation config say of it. `thinking` is what opens and closes thinking where the template opens
    it in the prompt, else None. `notes` are what a person should know, one line each.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        settings: ChatConfig | None = None,
        generation_end_ids: Sequence[int] = (),
    ) -> None:
        """Ask the template what it does. Raises ChatFormatError without a chat template, or when it cannot write."""
        self.name = tokenizer.name_or_path or type(tokenizer).__name__
        if not tokenizer.chat_template:
            raise ChatFormatError(
                f"tokenizer {self.name} has no chat template "
                "(expected one in tokenizer_config.json or chat_template.jinja)"
            )
        self.tokenizer, self.settings = tokenizer, settings or ChatConfig()
        self.notes: tuple[str, ...] = ()
        self._template = self._with_fixed_date()
        self._system_in_user = False
        self._place_system_prompt()
        self.thinking = thinking_opened_by(self._write(self.messages("What is it?")))
        of_template, of_tokenizer = self._end_of_template(), tokenizer.eos_token_id
        self.turn_end_of_template, self.generation_end_ids = of_template, tuple(generation_end_ids)
        ends = [*((of_tokenizer,) if isinstance(of_tokenizer, int) else ()), *generation_end_ids]
        ends += [] if of_template is None else [of_template]
        if not ends:
            raise ChatFormatError(
                f"{self.name}: no token ends a response (expected eos_token in tokenizer_config.json, eos_token_id in "
                "generation_config.json, or a chat template that ends the assistant's turn with a special token)"
            )
        self.end_ids: tuple[int, ...] = tuple(dict.fromkeys(int(token) for token in ends))
        self.turn_end = self.end_ids[0] if of_template is None else of_template
        self._silent = frozenset(
            index for index, token in tokenizer.added_tokens_decoder.items()
            if token.special and not is_marker(token.content)
        )  # fmt: skip
        if self.thinking:
            self.notes += (
                f"the template opens {self.thinking[0]}: a response without {self.thinking[1]} has no answer",
            )

    def autonomous(self, question: str) -> list[int]:
        """Return the prompt without strategy."""
        return self._ids(question)

    def guided(self, question: str, strategy: str) -> list[int]:
        """Return the prompt with the strategy's text before the question."""
        return self._ids(GUIDED_TEMPLATE.format(strategy=strategy, question=question))

    def messages(self, content: str) -> list[dict[str, str]]:
        """Return the conversation that a prompt is written from: the system prompt, then `content` by the user."""
        if self._system_in_user:
            return [{"role": "user", "content": f"{self.settings.system_prompt}\n\n{content}"}]
        return [{"role": "system", "content": self.settings.system_prompt}, {"role": "user", "content": content}]

    def build(self, question: str, strategy: str | None) -> list[int]:
        """Return the guided prompt, or the autonomous one where the strategy is None."""
        return self.autonomous(question) if strategy is None else self.guided(question, strategy)

    def prompt_on(self, question: str, day: date) -> str:
        """Return the autonomous prompt with `day` wherever its template asks the clock: without it on every other day.

        The text is not the one of that day: the day stands before its format.
        """
        # A clock cannot be handed to the template (transformers makes a text of it), so its calls are rewritten.
        template = _ASKED.sub("sgpo_day.replace('@', ", self._template)
        settings: dict[str, Any] = {"chat_template": template, "sgpo_day": f"{day} @"}
        return str(self._apply(self.messages(question), tokenize=False, add_generation_prompt=True, **settings))

    def response_ids(self, text: str) -> tuple[int, ...]:
        """Return a response to learn from as token ids: thinking closed where the prompt opened it, then the end."""
        if self.thinking:
            opening, closing = self.thinking
            thought = text.lstrip().removeprefix(opening).lstrip("\n")
            text = thought if closing in text else f"{closing}\n\n{text}"
        ids: Any = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return (*ids, self.turn_end)

    def texts(self, responses: Sequence[Sequence[int]]) -> list[str]:
        """Return what responses say: without the token that ended them, and without special tokens but the markers.

        A marker (of thinking, or of a turn) stays although its token is special: the verifier reads it.
        """
        spoken = []
        for ids in responses:
            own = ids[:-1] if ids and ids[-1] in self.end_ids else ids
            spoken.append([index for index in own if index not in self._silent])
        # transformers decodes no responses to one empty text.
        return self.tokenizer.batch_decode(spoken, skip_special_tokens=False) if spoken else []

    def with_thinking(self, text: str) -> str:
        """Return a response's text with the thinking that its prompt opened, as a verifier must see it."""
        return f"{self.thinking[0]}{text}" if self.thinking else text

    def describe(self, question: str, strategy: str) -> str:
        """Return both prompts as text and what ends a response, for a person to look at."""
        parts = []
        for name, ids in (("autonomous", self.autonomous(question)), ("guided", self.guided(question, strategy))):
            parts.append(f"the {name} prompt ({len(ids)} tokens):\n{self._indented(str(self.tokenizer.decode(ids)))}")
        ends = ", ".join(f"{self.tokenizer.convert_ids_to_tokens(index)!r} (id {index})" for index in self.end_ids)
        turn = self.tokenizer.convert_ids_to_tokens(self.turn_end)
        parts.append(f"a response ends at {ends}; one to learn from ends with {turn!r}")
        return "\n".join((*parts, *(f"note: {note}" for note in self.notes)))

    def _indented(self, text: str) -> str:
        return "\n".join(f"    {line}" for line in text.split("\n"))

    def _ids(self, content: str) -> list[int]:
        ids: Any = self._apply(self.messages(content), tokenize=True, return_dict=False, add_generation_prompt=True)
        while len(ids) > 1 and ids[0] == ids[1] == self.tokenizer.bos_token_id:
            ids = ids[1:]  # written by the template and once more by what it includes: exactly one begins a text
        return ids

    def _write(self, messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return str(self._apply(messages, tokenize=False, add_generation_prompt=add_generation_prompt))

    def _apply(self, messages: list[dict[str, str]], **options: Any) -> Any:
        """Raise ChatFormatError when the template cannot write these messages."""
        settings: Any = {**self.settings.chat_template_kwargs, "chat_template": self._template, **options}
        try:
            return self.tokenizer.apply_chat_template(messages, **settings)
        except Exception as error:  # a template is a program
            said = one_line(error, 300)
            raise ChatFormatError(f"{self.name}: the chat template cannot write a prompt: {said}") from None

    def _with_fixed_date(self) -> str:
        """Return the template with the date of the settings where it asks the clock: the same prompt every day."""
        template = self.tokenizer.get_chat_template()
        fixed = _CLOCK.sub(lambda found: repr(self.settings.date.strftime(found[1][1:-1])), template)
        if fixed != template:
            self.notes += (f"the template writes the date: always that of chat.date, {self.settings.date}",)
        return fixed

    def _place_system_prompt(self) -> None:
        """Put the system prompt into the user's turn where the template refuses a system message, or passes over it."""
        try:
            why = None if self._writes_system_prompt() else "passes over the system message"
        except ChatFormatError as error:
            why = str(error).rpartition(": ")[2]
        if why is None:
            return
        self._system_in_user = True
        if not self._writes_system_prompt():
            raise ChatFormatError(f"{self.name}: the chat template does not write what the user says")
        self.notes += (f"the template takes no system role ({why}): the system prompt is in the user's turn",)

    def _writes_system_prompt(self) -> bool:
        return self.settings.system_prompt.strip() in self._write(self.messages(_SAMPLE))

    def _end_of_template(self) -> int | None:
        """Return the special token with which the template ends an assistant's turn; None where it has none."""
        answer = {"role": "assistant", "content": _SAMPLE}
        try:
            written = self._write([*self.messages("What is it?"), answer], add_generation_prompt=False)
        except ChatFormatError:  # a template for one turn alone
            return None
        before, _, after = written.rpartition(_SAMPLE)
        ids: Any = self.tokenizer(after, add_special_tokens=False)["input_ids"] if before else []
        added = self.tokenizer.added_tokens_decoder
        return next((int(index) for index in ids if index in added), None)


def settings_of(source: object) -> dict[str, Any]:
    """Return a chat format's settings as JSON, for an engine in another process; the defaults for anything else."""
    settings = source.settings if isinstance(source, ChatFormat) else ChatConfig()
    return settings.model_dump(mode="json")


def chat_of(source: ChatFormat | PreTrainedTokenizerBase) -> ChatFormat:
    """Return the format as it is, or a tokenizer's own by the default settings."""
    return source if isinstance(source, ChatFormat) else ChatFormat(source)
