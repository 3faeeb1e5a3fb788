"""Opening a model: a local Hugging Face folder or a hub id, with its tokenizer."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging

from sgpo.config import ChatConfig
from sgpo.errors import one_line
from sgpo.files import SECOND_COPIES
from sgpo.rollouts.chat import ChatFormat
from sgpo.rollouts.model_error import ModelFolderError

HEAD_EXTRAS = {
    "final_logit_softcapping": None, "logit_scale": 1.0, "logits_scaling": 1.0, "output_multiplier": 1.0,
    "lm_head_multiplier": 1.0, "logits_soft_cap": None, "output_logit_soft_cap": None,
    "logits_mup_width_multiplier": 1.0,
}  # fmt: skip
"""What some families do to their logits, by the configuration's key, and the value that does nothing."""
MODEL_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "merges.txt", "LICENSE*")
"""What is fetched of a hub's repository: never a pickle."""
INDEX = "model.safetensors.index.json"
"""Says which file each tensor of a model in several files is in."""
GENERIC = ("TokenizersBackend", "PreTrainedTokenizerFast")
TokenizerT = TypeVar("TokenizerT", bound=PreTrainedTokenizerBase)


def local_folder(source: str | Path) -> Path:
    """Return a whole model's folder: a local one as it is, or a hub id's from Hugging Face's cache or the hub.

    Raises ModelFolderError naming what is missing, or why the hub does not give it.
    """
    folder = Path(source)
    if not folder.is_dir():
        if not may_be_hub_id(source):
            raise ModelFolderError(f"{source}: no such model folder")
        folder = _from_hub(str(source))
    for name, what in (("config.json", "model configuration"), ("tokenizer.json", "fast tokenizer")):
        if not (folder / name).is_file():
            raise ModelFolderError(f"{folder}: no {name} (expected a Hugging Face model folder with a {what})")
    named, files = _indexed(folder), {file for file in folder.glob("*.safetensors") if not file.match(SECOND_COPIES)}
    if not files:
        raise ModelFolderError(f"{folder}: no *.safetensors (expected the weights; pickled weights are not loaded)")
    for file in sorted(files | named):
        if not file.is_file():  # a download that was cut off: in the hub's cache a file is a link
            what = f"what {INDEX} names" if file in named else "the file that it links to"
            raise ModelFolderError(f"{folder}: no {file.name} (expected {what})")
    return folder


def may_be_hub_id(source: str | Path) -> bool:
    """Return whether what is no folder here may be a model of the hub, and is not a path that was mistyped."""
    return not Path(source).is_absolute() and not str(source).startswith((".", "data/", "runs/"))


def _indexed(folder: Path) -> set[Path]:
    """Return the files of weights that a folder's index names; none where it has no index."""
    file = folder / INDEX
    if not file.is_file():
        return set()
    try:
        return {folder / name for name in json.loads(file.read_text(encoding="utf-8"))["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFolderError(f"{file}: no index of weights ({type(error).__name__}; expected 'weight_map')") from None


def load_model(source: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer from a local folder or a hub id, in float32 and from safetensors only.

    Raises ModelFolderError naming what is missing, left over or not finite: nothing is trained from random weights.
    """
    folder = local_folder(source)
    model = open_model(folder, source, torch.float32)
    return model, open_ending_tokenizer(folder, source)


def open_model(folder: Path, source: str | Path, dtype: torch.dtype | str) -> PreTrainedModel:
    """Return the model of a local folder, every tensor of it read; `dtype` "auto" leaves it as it is in the files.

    Raises ModelFolderError for a tensor that is missing, left over, of another shape or not finite.
    """
    model = _opened(folder, source, dtype)
    _check_head(model, source)
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            raise ModelFolderError(f"{source}: '{name}' has values that are not finite (expected finite weights)")
    return model


def open_chat(folder: Path | str, tokenizer: PreTrainedTokenizerBase, settings: ChatConfig | None = None) -> ChatFormat:
    """Return how the model of a local folder writes conversations, with the end tokens of its generation config."""
    return ChatFormat(tokenizer, settings, _generation_end_ids(Path(folder)))


def _generation_end_ids(folder: Path) -> tuple[int, ...]:
    file = folder / "generation_config.json"
    if not file.is_file():
        return ()
    try:
        ends = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id")
        ids = () if ends is None else tuple(ends) if isinstance(ends, list) else (ends,)
    except (ValueError, AttributeError) as error:
        raise ModelFolderError(f"{file}: not a JSON object: {error}") from None
    if not all(type(index) is int for index in ids):
        raise ModelFolderError(f"{file}: eos_token_id is {ends!r} (expected a token's id, or a list of them)")
    return ids


def _opened(folder: Path, source: str | Path, dtype: torch.dtype | str) -> PreTrainedModel:
    """Return the model as transformers opens it, whose loading report is an error here and not a warning."""
    try:
        with quiet_transformers():
            opened: Any = AutoModelForCausalLM.from_pretrained(
                str(folder), dtype=dtype, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True
            )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        said = one_line(error, 300)
        raise ModelFolderError(f"{source}: transformers cannot open it ({type(error).__name__}: {said})") from None
    model, report = opened
    check_report(report, source, type(model).__name__)
    return model


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from warning while it opens a model: `check_report` says the same in one line."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def check_report(
    report: Mapping[str, Iterable[Any]], source: str | Path, architecture: str, where: str = "the folder"
) -> None:
    """Raise ModelFolderError for a tensor that transformers' loading report has as missing, left over or misshapen."""
    for key, what in (
        ("missing_keys", f"is not in {where} and would be random"),
        ("unexpected_keys", f"is in {where} and nothing of the architecture"),
        ("mismatched_keys", f"has another shape in {where} than its configuration says"),
    ):
        if names := sorted(str(name[0] if isinstance(name, tuple) else name) for name in report[key]):
            more = f", and {len(names) - 1} more" if len(names) > 1 else ""
            raise ModelFolderError(
                f"{source}: tensor '{names[0]}' {what}{more} (expected every tensor of {architecture} once)"
            )


def open_ending_tokenizer(folder: Path, source: str | Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of the model folder of `source`; ModelFolderError when it has no end token."""
    tokenizer = open_tokenizer(folder)
    if tokenizer.eos_token_id is None:
        raise ModelFolderError(f"{source}: the tokenizer has no end token (expected eos_token in its configuration)")
    return tokenizer


def end_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of the end token."""
    return int(tokenizer.eos_token_id)  # type: ignore[arg-type]


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id that fills batches up: the padding token, or the end token where there is none."""
    return end_id(tokenizer) if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)  # type: ignore[arg-type]


def cached_snapshot(name: str) -> Path | None:
    """Return the folder of a hub id's model in Hugging Face's cache, None where it has none; the hub is not asked."""
    try:
        return _snapshot(name, local_files_only=True)
    except (OSError, ValueError):
        return None


def _snapshot(name: str, local_files_only: bool) -> Path:
    return Path(
        snapshot_download(
            name, allow_patterns=list(MODEL_FILES), ignore_patterns=[SECOND_COPIES], local_files_only=local_files_only
        )
    )


def _from_hub(name: str) -> Path:
    try:
        return _snapshot(name, local_files_only=False)
    except (OSError, ValueError) as error:  # what the hub's client raises are kinds of these
        reason = one_line(error, 300)
        raise ModelFolderError(
            f"{name}: no such folder, and no model that the hub gives ({type(error).__name__}: {reason})"
        ) from None


def _check_head(model: PreTrainedModel, source: str | Path) -> None:
    """Log-probabilities are computed from hidden states and the projection's weight alone: refuse what does more."""
    for key, neutral in HEAD_EXTRAS.items():
        value = getattr(model.config.get_text_config(), key, None)
        if value is not None and value != neutral:
            raise ModelFolderError(
                f"{source}: config.json has {key} {value}, and logits that are not hidden states times the projection "
                "are not supported (expected a Llama- or Qwen-like output head)"
            )
    head = model.get_output_embeddings()
    if head is None or getattr(head, "bias", None) is not None:
        what = "no output projection" if head is None else "an output projection with a bias"
        raise ModelFolderError(f"{source}: the model has {what} (expected a causal language model without one)")


def open_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a hub id or folder, exactly as its files say."""
    # AutoTokenizer goes by the model's architecture and replaces the pre-tokenizer in tokenizer.json by that family's,
    # without a word. A folder that asks for the generic class gets exactly what its tokenizer.json says.
    settings = Path(source) / "tokenizer_config.json"
    try:
        if settings.is_file() and json.loads(settings.read_text(encoding="utf-8")).get("tokenizer_class") in GENERIC:
            return saved_alike(PreTrainedTokenizerFast.from_pretrained(str(source)))
        return saved_alike(AutoTokenizer.from_pretrained(str(source)))
    except Exception as error:  # the tokenizers library raises nothing narrower for a spoiled tokenizer.json
        said = one_line(error, 300)
        raise ModelFolderError(f"{source}: its tokenizer cannot be opened ({type(error).__name__}: {said})") from None


def saved_alike(tokenizer: TokenizerT) -> TokenizerT:
    """Return the tokenizer, which will be saved with the same bytes wherever it was opened.

    transformers notes in the file whether the hub was asked (HF_HUB_OFFLINE): the same model would be another one.
    """
    tokenizer.init_kwargs["local_files_only"] = False
    return tokenizer
