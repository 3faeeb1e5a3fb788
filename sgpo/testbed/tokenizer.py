"""A real fast tokenizer for the world: one token per word or number, exact round trips, a chat template."""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PAD, END, UNKNOWN = "<|pad|>", "<|end|>", "<|unknown|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

# A word or sign keeps the spaces around it where a number follows, so that a number is one token wherever it stands and
WORDS = Regex(r" ?\\boxed\{|\d+| ?[A-Za-z]+(?: (?=\d))?| ?[^\sA-Za-z\d](?: (?=\d))?|\s")


def build_tokenizer(texts: Iterable[str], numbers: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer that knows every word of `texts` and the numbers below `numbers`.

    A word that it does not know becomes UNKNOWN; callers that must not lose text check for `unk_token_id`.
    """
    splitter = pre_tokenizers.Split(WORDS, behavior="isolated")
    words = {word for text in texts for word, _ in splitter.pre_tokenize_str(text)}
    words |= {str(number) for number in range(numbers)}
    special = [PAD, END, UNKNOWN, *ROLES]
    vocabulary = {word: index for index, word in enumerate([*special, *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        additional_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
