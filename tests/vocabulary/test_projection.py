"""Memory and precision of the vocabulary-wide functions, and what objectives/ may import."""

import ast
import sys
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import sgpo
from sgpo.objectives import linear_forward_kl, linear_reverse_kl, linear_token_logprobs

TOKENS, HIDDEN, VOCABULARY, CHUNK = 60, 4, 50, 7


class LargestTensor(TorchDispatchMode):
    """Records the largest number of elements that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


def losses(hidden_ND, weight_VD, chunk_size):
    targets_N = torch.arange(TOKENS) % VOCABULARY
    other_ND = hidden_ND.detach().flip(0)
    return {
        "logprobs": lambda: sum(
            o.sum() for o in linear_token_logprobs(hidden_ND, weight_VD, targets_N, 0.7, chunk_size)
        ),
        "forward": lambda: linear_forward_kl(hidden_ND, other_ND, weight_VD, 0.7, chunk_size).sum(),
        "reverse": lambda: linear_reverse_kl(hidden_ND, other_ND, weight_VD, 0.7, chunk_size).sum(),
    }


def inputs(dtype):
    generator = torch.Generator().manual_seed(0)
    hidden_ND = torch.randn(TOKENS, HIDDEN, generator=generator).to(dtype).requires_grad_()
    return hidden_ND, (2 * torch.randn(VOCABULARY, HIDDEN, generator=generator)).to(dtype).requires_grad_()


@pytest.mark.parametrize("name", ["logprobs", "forward", "reverse"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_tensor_is_larger_than_one_chunk_over_the_vocabulary_in_forward_or_backward(name, dtype):
    hidden_ND, weight_VD = inputs(dtype)
    with LargestTensor() as largest:
        losses(hidden_ND, weight_VD, CHUNK)[name]().backward()
    assert largest.elements == max(CHUNK * VOCABULARY, TOKENS * HIDDEN, VOCABULARY * HIDDEN)


@pytest.mark.parametrize("name", ["logprobs", "forward", "reverse"])
@pytest.mark.parametrize("chunk_size", [None, CHUNK])
def test_bfloat16_inputs_are_accumulated_in_float32(name, chunk_size):
    hidden_ND, weight_VD = inputs(torch.bfloat16)
    wide_ND, wide_VD = (tensor.detach().double().requires_grad_() for tensor in (hidden_ND, weight_VD))
    value = losses(hidden_ND, weight_VD, chunk_size)[name]()
    reference = losses(wide_ND, wide_VD, chunk_size)[name]()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(reference.item(), rel=2e-6)
    value.backward()
    reference.backward()
    for mine, theirs in ((hidden_ND.grad, wide_ND.grad), (weight_VD.grad, wide_VD.grad)):
        assert mine.dtype == torch.bfloat16
        # Rounded once, at the very end: half a unit in the last of bfloat16's 8 bits.
        torch.testing.assert_close(mine.double(), theirs, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("room", ["objectives", "vocabulary"])
def test_the_mathematics_imports_torch_and_nothing_of_the_other_rooms(room):
    allowed = set(sys.stdlib_module_names) | {"torch"}
    paths = list((Path(sgpo.__file__).parent / room).glob("*.py"))
    assert len(paths) > 3
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path.name} line {node.lineno}: relative import"
                names = [node.module or ""]
            for name in names:
                fits = name.split(".")[0] in allowed or name.startswith(("sgpo.objectives.", "sgpo.vocabulary."))
                assert fits, f"{path.name} line {node.lineno} imports {name}"
