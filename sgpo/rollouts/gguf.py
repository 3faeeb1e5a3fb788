"""A model in one GGUF file, as llama.cpp and its relatives read it, to a Hugging Face folder that training opens."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils.import_utils import is_gguf_available
from transformers.utils.logging import disable_progress_bar

from sgpo.errors import one_line
from sgpo.files import file_sha256, is_empty_folder, publish_folder
from sgpo.forecast import Forecast
from sgpo.rollouts.examination import Examination, examine
from sgpo.rollouts.export import export_model
from sgpo.rollouts.gguf_file import check_gguf_file
from sgpo.rollouts.model_folder import ModelFolderError, check_report, open_chat, quiet_transformers, saved_alike

CONVERSION = ".conversion.json"
"""What a folder was converted from, and the sha256 of every file; hidden, as it is no part of the model."""
_NO_PARAMETERS = ("rope_freqs", "rope_factors")
"""How the names of tensors begin that a model computes by itself."""
_FLOAT32_BYTES = 4

OpenedT = TypeVar("OpenedT")


def convert_gguf(file: Path, output: Path, sha256: str | None = None) -> Examination:
    """Write the model of a GGUF file to `output`: float32 safetensors, tokenizer, chat template, generation config.

    The file's bytes must have the `sha256`, where it is given. A folder that was converted from the same bytes, and
    whose files are still what was written, is taken as it is. The folder is examined like any other model's.
    Raises ModelFolderError for what is no GGUF file, for an architecture that transformers does not read, for a file
    without a tokenizer and for tensors that are missing or left over; ChatFormatError where the template fails.
    """
    source = _source_of(file, sha256)
    _make_parent(output)
    if is_converted(output, source):
        return examine(output)
    _check_place(output)
    with publish_folder(output) as aside:
        _write(file, aside)
        found = examine(aside, name=file)
        files = {path.name: file_sha256(path) for path in sorted(aside.iterdir())}
        record = {"source": file.name, "sha256": source, "files": files}
        (aside / CONVERSION).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return Examination(output, found.chat, found.architecture, found.parameters, found.positions)


def forecast_conversion(file: Path, output: Path, sha256: str | None = None) -> Forecast:
    """Return what `convert_gguf` would write, by the file's header. Raises ModelFolderError for what shows there."""
    source = _source_of(file, sha256)
    from gguf import GGUFReader  # the check says how to get it

    if is_converted(output, source):
        return Forecast(str(output), (f"{output}: converted from these bytes already, and as it was written",))
    _check_place(output)
    reader = _opened(file, "it", lambda: GGUFReader(file))
    parameters = sum(int(tensor.n_elements) for tensor in _parameters(reader))
    kind, size = reader.fields["general.architecture"].contents(), parameters * _FLOAT32_BYTES
    says = f"{output}: {kind} of {parameters:,} parameters, {size:,} bytes of weights in float32"
    return Forecast(str(output), (says,), bytes=size)


def _check_place(output: Path) -> None:
    if output.exists() and not (output / CONVERSION).is_file() and not is_empty_folder(output):
        raise ModelFolderError(
            f"{output}: holds something else (expected a new folder, or one of an earlier conversion)"
        )


def _make_parent(output: Path) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelFolderError(f"{output}: cannot be made ({error.strerror}; expected a folder to write in)") from None


def _source_of(file: Path, sha256: str | None) -> str:
    """Return the sha256 of a file that can be converted here."""
    found = check_gguf_file(file, sha256)
    if not is_gguf_available():
        raise ModelFolderError(
            f"{file}: the package gguf is not installed (expected `pip install '.[gguf]'` in the checkout)"
        )
    return found


def is_converted(folder: Path, sha256: str) -> bool:
    """Return whether `folder` was converted from a file with this sha256 and has every file as it was written."""
    try:
        record = json.loads((folder / CONVERSION).read_text(encoding="utf-8"))
        return record["sha256"] == sha256 and all(
            file_sha256(folder / name) == written for name, written in record["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _write(file: Path, folder: Path) -> None:
    disable_progress_bar()
    options = {"gguf_file": file.name}
    tokenizer: Any = _opened(file, "its tokenizer", lambda: AutoTokenizer.from_pretrained(str(file.parent), **options))
    saved_alike(tokenizer)
    if tokenizer.eos_token_id is None:
        raise ModelFolderError(f"{file}: the tokenizer has no end token (expected tokenizer.ggml.eos_token_id)")
    opened: Any = _opened(
        file,
        "it",
        lambda: AutoModelForCausalLM.from_pretrained(
            str(file.parent), dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True, **options
        ),
    )
    model, report = opened
    check_report(report, file, type(model).__name__, "the file")
    _check_all_read(file, model)
    weights = model.state_dict()
    del model.config.quantization_config  # it says how the file was packed, and the folder no longer is
    plain = type(model)(model.config)  # the one that was opened refuses to be saved: it came from a quantizer
    plain.generation_config = model.generation_config
    tokenizer.name_or_path = str(file)  # for messages; it was opened from the folder of the file
    export_model(plain, tokenizer, weights, folder, open_chat(file.parent, tokenizer).end_ids)


def _check_all_read(file: Path, model: PreTrainedModel) -> None:
    """Raise ModelFolderError for a tensor that transformers passed over, which it does without a word."""
    from gguf import MODEL_ARCH_NAMES, GGUFReader, get_tensor_name_map

    reader = GGUFReader(file)
    tensors = _parameters(reader)
    if sum(int(tensor.n_elements) for tensor in tensors) == sum(parameter.numel() for parameter in model.parameters()):
        return
    architecture = reader.fields["general.architecture"].contents()
    number = next(number for number, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names = get_tensor_name_map(number, model.config.num_hidden_layers)
    read = {names.get_name(name, try_suffixes=(".weight", ".bias")) for name in model.state_dict()}
    passed_over = sorted({tensor.name for tensor in tensors} - read) or ["?"]
    raise ModelFolderError(
        f"{file}: tensor '{passed_over[0]}' is in the file and nothing of {type(model).__name__} (expected every "
        "tensor of the architecture once, and no other)"
    )


def _parameters(reader: Any) -> list[Any]:
    """Return the tensors of a file that a model does not compute by itself."""
    return [tensor for tensor in reader.tensors if not tensor.name.startswith(_NO_PARAMETERS)]


def _opened(file: Path, what: str, opener: Callable[[], OpenedT]) -> OpenedT:
    """Return what `opener` opens; whatever transformers and its libraries raise becomes one line."""
    try:
        with quiet_transformers():
            return opener()
    except Exception as error:
        said = f"{type(error).__name__}: {one_line(error, 300)}"
        raise ModelFolderError(
            f"{file}: transformers cannot open {what} ({said}; expected a whole GGUF file with its tokenizer, of an "
            "architecture that transformers reads, such as llama or qwen2)"
        ) from None
