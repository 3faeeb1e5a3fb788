"""The few passes of a GPU: values and slopes are those of plain autograd in float64; on a card, of the whole loss."""

from typing import Any

import pytest
import torch

from sgpo.objectives import linear_divergence_loss, linear_logprob_loss
from sgpo.vocabulary import passes

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def eager(function: Any) -> Any:
    return function.__wrapped__


def draw(*shape: int, seed: int = 0, device: str = "cpu") -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_slopes_of_log_probability_and_entropy_are_autograds(temperature):
    products, targets = (3 * draw(6, 11)).requires_grad_(), torch.tensor([0, 3, 10, 4, 4, 1])
    slopes, entropy_slopes = draw(6, seed=1), draw(6, seed=2)
    logprobs = (products / temperature).log_softmax(-1)
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    taken = logprobs.gather(1, targets[:, None])[:, 0]
    (taken * slopes + entropy * entropy_slopes).sum().backward()
    logits = (products / temperature).detach()
    found = eager(passes.logprob_values)(logits, targets)
    torch.testing.assert_close(found, (taken.detach(), entropy.detach(), logits.logsumexp(-1)))
    _, found_entropy, normaliser = found
    given = logits, targets, normaliser, found_entropy, slopes, entropy_slopes, temperature, torch.float64
    torch.testing.assert_close(eager(passes.logprob_slopes)(*given), products.grad)


@pytest.mark.parametrize("reverse", [False, True])
def test_slopes_of_the_divergence_are_autograds(reverse):
    products, teacher = (2 * draw(5, 9)).requires_grad_(), draw(5, 9, seed=1) / 0.7
    slopes, student = draw(5, seed=2), products / 0.7
    logq, logp = student.log_softmax(-1), teacher.log_softmax(-1)
    kl = (logq.exp() * (logq - logp) if reverse else logp.exp() * (logp - logq)).sum(-1)
    (kl * slopes).sum().backward()
    found = eager(passes.divergence_values)(student.detach(), teacher, reverse)
    torch.testing.assert_close(found[0], kl.detach())
    given = student.detach(), teacher, *found[1:], found[0], slopes, reverse, 0.7, torch.float64
    torch.testing.assert_close(eager(passes.divergence_slopes)(*given), products.grad)


def test_a_function_that_cannot_be_compiled_computes_as_it_is_and_warns_once(caplog, monkeypatch):
    def refuses(function):
        def call(*_):
            raise torch._dynamo.exc.Unsupported("no compiler here")

        return call

    monkeypatch.setattr(torch, "compile", refuses)
    twice = passes.compiled(lambda value: 2 * value)
    assert [twice(3), twice(4)] == [6, 8]
    assert [record.getMessage() for record in caplog.records] == [
        "<lambda> cannot be compiled (no compiler here): it computes slower"
    ]


@GPU
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("chunk", [None, 100])
def test_on_a_gpu_losses_and_gradients_are_those_in_float64(dtype, tolerance, chunk):
    hidden, guide, weight = (draw(257, 64, seed=1), draw(257, 64, seed=2), draw(1000, 64, seed=3) / 4)
    targets = torch.randint(1000, (257,), generator=torch.Generator().manual_seed(4))
    slopes = draw(257, seed=5)

    def both(device: str, kind: torch.dtype) -> list[torch.Tensor]:
        found = []
        for which in ("logprob", "forward", "reverse"):
            student = hidden.to(dtype).to(device, kind).requires_grad_()
            matrix = weight.to(dtype).to(device, kind).requires_grad_()
            by = slopes.to(device)
            if which == "logprob":
                loss = linear_logprob_loss(
                    student, matrix, targets.to(device),
                    lambda logp, entropy, span, by=by: by[span].to(logp) * (logp + 0.3 * entropy), 0.8, chunk,
                )[0]  # fmt: skip
            else:
                loss = linear_divergence_loss(
                    student, guide.to(dtype).to(device, kind), matrix, lambda kl, span, by=by: by[span].to(kl) * kl,
                    0.8, chunk, which == "reverse",
                )[0]  # fmt: skip
            loss.backward()
            found += [loss.detach(), student.grad, matrix.grad]
        return [value.double().cpu() for value in found if value is not None]

    for ours, plain in zip(both("cuda", dtype), both("cpu", torch.float64), strict=True):
        assert (ours - plain).norm() <= tolerance * plain.norm()
