"""From a question, and a strategy where there is one, to the token ids of a prompt."""

from transformers import PreTrainedTokenizerBase

SYSTEM_PROMPT = "Solve the problem. Put the final answer in \\boxed{}."
GUIDED_TEMPLATE = "{strategy}\n\n{question}"


class PromptBuilder:
    """Prompts by the tokenizer's chat template, ready for the assistant's turn.

    The strategy stands before the question in the user's turn. Only the prompt differs between the two contexts: the
    response's tokens are the same in both.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take the tokenizer; raises ValueError when it has no chat template."""
        if not tokenizer.chat_template:
            raise ValueError(
                f"tokenizer {tokenizer.name_or_path or type(tokenizer).__name__} has no chat template "
                "(expected one in tokenizer_config.json or chat_template.jinja)"
            )
        self.tokenizer = tokenizer

    def autonomous(self, question: str) -> list[int]:
        """Return the prompt without strategy."""
        return self._render(question)

    def guided(self, question: str, strategy: str) -> list[int]:
        """Return the prompt with the strategy's text before the question."""
        return self._render(GUIDED_TEMPLATE.format(strategy=strategy, question=question))

    def build(self, question: str, strategy: str | None) -> list[int]:
        """Return the guided prompt, or the autonomous one where the strategy is None."""
        return self.autonomous(question) if strategy is None else self.guided(question, strategy)

    def _render(self, content: str) -> list[int]:
        messages = [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": content}]
        return self.tokenizer.apply_chat_template(  # type: ignore[return-value]
            messages, add_generation_prompt=True, tokenize=True, return_dict=False
        )
