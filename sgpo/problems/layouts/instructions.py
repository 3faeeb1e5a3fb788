r"""Instructions that published sets wrap around a question: the trainer's prompt says how to answer, not the data."""

import re

_WRAPPED = re.compile(
    r"Solve the following math problem step by step\. The last line of your response should be of the form Answer:"
    r"[^\n]*\n\n(?P<question>.*?)\n\nRemember to put your answer on its own line after \"Answer:\"[^\n]*",
    re.DOTALL,
)  # DAPO-Math-17k and the sets made of it
_SUFFIXES = (
    'Let\'s think step by step and output the final answer after "####".',  # verl's gsm8k
    "Let's think step by step and output the final answer within \\boxed{}.",  # verl's MATH, DeepScaleR
    "Please reason step by step, and put your final answer within \\boxed{}.",  # Qwen2.5-Math, Open-Reasoner
)


def without_instructions(prompt: str) -> str:
    """Return the question alone of a prompt that one of the published instructions stands around."""
    bare = prompt.strip()
    if wrapped := _WRAPPED.fullmatch(bare):
        return wrapped["question"].strip()
    for suffix in _SUFFIXES:
        if bare.endswith(suffix) and bare != suffix:
            return bare.removesuffix(suffix).strip()
    return prompt


def is_instructed(prompt: object) -> bool:
    """Whether a published instruction stands around the question."""
    return isinstance(prompt, str) and without_instructions(prompt) != prompt
