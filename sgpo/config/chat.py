"""How prompts are written for a model, beyond what its chat template does by itself."""

import datetime

from pydantic import Field, JsonValue, field_validator

from sgpo.config.base import Settings

_OURS = frozenset({
    "messages", "conversation", "chat_template", "add_generation_prompt", "continue_final_message", "tokenize",
    "padding", "truncation", "max_length", "return_tensors", "return_dict", "tokenizer_kwargs", "strftime_now",
})  # fmt: skip


SYSTEM_PROMPT = "Solve the problem. Put the final answer in \\boxed{}."


def _is_default(prompt: str) -> bool:
    return prompt == SYSTEM_PROMPT  # left out of what is written and hashed, as before there was a choice


class ChatConfig(Settings):
    """What the chat template is given. Weights and scores depend on it, so a run records it."""

    system_prompt: str = Field(
        default=SYSTEM_PROMPT, min_length=1, max_length=4000, exclude_if=_is_default,
        description="System prompt; for another domain it must say how the answer is to be stated",
    )  # fmt: skip
    chat_template_kwargs: dict[str, JsonValue] = Field(
        default={}, description="Variables for the chat template, such as {enable_thinking: false}"
    )
    date: datetime.date = Field(
        default=datetime.date(2026, 1, 1),
        description="Date written by templates that would write today's, so that prompts are the same every week",
    )

    @field_validator("chat_template_kwargs")
    @classmethod
    def _names_are_the_templates(cls, variables: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if ours := sorted(_OURS & variables.keys()):
            raise ValueError(f"'{ours[0]}' is set by sgpo itself (expected a variable that only the template reads)")
        return variables
