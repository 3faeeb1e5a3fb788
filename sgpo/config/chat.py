"""How conversations are written for a model, beyond what its chat template does by itself."""

import datetime

from pydantic import Field, JsonValue, field_validator

from sgpo.config.base import Settings

_OURS = frozenset({
    "messages", "conversation", "chat_template", "add_generation_prompt", "continue_final_message", "tokenize",
    "padding", "truncation", "max_length", "return_tensors", "return_dict", "tokenizer_kwargs", "strftime_now",
})  # fmt: skip


class ChatConfig(Settings):
    """What the chat template is told. Weights and scores depend on it, so that it is part of what a run is made of."""

    chat_template_kwargs: dict[str, JsonValue] = Field(
        default={}, description="Variables for the chat template, such as {enable_thinking: false}"
    )
    date: datetime.date = Field(
        default=datetime.date(2026, 1, 1),
        description="The date that a template which writes today's date writes instead: the same prompts every week",
    )

    @field_validator("chat_template_kwargs")
    @classmethod
    def _names_are_the_templates(cls, variables: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if ours := sorted(_OURS & variables.keys()):
            raise ValueError(f"'{ours[0]}' is set by sgpo itself (expected a variable that only the template reads)")
        return variables
