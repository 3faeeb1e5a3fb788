"""Peak memory and time of the vocabulary-wide objectives against plain autograd, forward and backward.

    OMP_NUM_THREADS=2 .venv/bin/python benchmarks/vocabulary.py [--tokens 4096] [--device cuda] [--json FILE]

One process per line of the table, so that each has a peak of its own: extra memory is what forward and backward take
beyond the inputs (on the CPU the peak of the resident set, on CUDA the allocator's), the gradients of hidden states and
of the weight included. "plain" is what one would write: two matrices of logits, `log_softmax`, a sum, `backward`.
"two pass" is the function that returns every token's value, for any use; "one pass" is what training calls, with the
loss of a token known (sgpo/vocabulary/fused.py). A run takes about 2 minutes a line on two cores and needs 13 GiB for
the plain version.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from measure import add_json, peak_bytes, product_rate, wait, write_figures

from sgpo.objectives import linear_divergence_loss, linear_forward_kl, linear_logprob_loss, linear_token_logprobs

FUNCTIONS = ("forward KL", "log-probability and entropy")


def plain_forward_kl(student_ND: torch.Tensor, teacher_ND: torch.Tensor, weight_VD: torch.Tensor) -> torch.Tensor:
    """Eq. 3 in three lines."""
    logp_NV = (teacher_ND.detach() @ weight_VD.detach().t()).float().log_softmax(dim=-1)
    logq_NV = (student_ND @ weight_VD.t()).float().log_softmax(dim=-1)
    return (logp_NV.exp() * (logp_NV - logq_NV)).sum(dim=-1)


def plain_token_logprobs(
    hidden_ND: torch.Tensor, weight_VD: torch.Tensor, targets_N: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities with gradient; the entropy, which is only logged, without."""
    logprobs_NV = (hidden_ND @ weight_VD.t()).float().log_softmax(dim=-1)
    with torch.no_grad():
        entropy_N = -(logprobs_NV.exp() * logprobs_NV).sum(dim=-1)
    return logprobs_NV.gather(1, targets_N[:, None])[:, 0], entropy_N


def measure(function: str, version: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds and extra GiB of one forward and backward, in this process."""
    torch.manual_seed(0)
    device, dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
    shape = (arguments.tokens, arguments.hidden)
    student_ND = torch.randn(shape, device=device, dtype=dtype).requires_grad_()
    teacher_ND = torch.randn(shape, device=device, dtype=dtype)
    weight_VD = torch.randn(arguments.vocabulary, arguments.hidden, device=device, dtype=dtype).mul_(0.02)
    weight_VD.requires_grad_()
    targets_N = torch.randint(arguments.vocabulary, (arguments.tokens,), device=device)
    weights_N = torch.rand(arguments.tokens, device=device)
    passes, _, chunk = version.partition(" pass, chunk ")
    chunk_size = int(chunk) if chunk.isdigit() else None

    def once(count: int, weight_VD: torch.Tensor, targets_N: torch.Tensor) -> None:
        student, teacher, weights = student_ND[:count], teacher_ND[:count], weights_N[:count]
        if function == "forward KL":
            if version == "plain":
                loss = (plain_forward_kl(student, teacher, weight_VD) * weights).sum()
            elif passes == "two":
                loss = (linear_forward_kl(student, teacher, weight_VD, chunk_size=chunk_size) * weights).sum()
            else:
                loss, _ = linear_divergence_loss(
                    student, teacher, weight_VD, lambda kl_C, span: kl_C * weights[span], chunk_size=chunk_size
                )
        elif version == "plain":
            loss = (plain_token_logprobs(student, weight_VD, targets_N)[0] * weights).sum()
        elif passes == "two":
            loss = (linear_token_logprobs(student, weight_VD, targets_N, chunk_size=chunk_size)[0] * weights).sum()
        else:
            loss, _, _ = linear_logprob_loss(
                student, weight_VD, targets_N, lambda logp_C, _, span: logp_C * weights[span], chunk_size=chunk_size
            )
        loss.backward()
        student_ND.grad = weight_VD.grad = None

    rounds = arguments.rounds if device.type == "cuda" else 1
    # Thread pools and autotuning, with a vocabulary so small that it leaves no mark on the peak.
    once(8, weight_VD[:1000].detach().clone().requires_grad_(), targets_N[:8] % 1000)
    wait(device)
    before = peak_bytes(device)
    started = time.perf_counter()
    for _ in range(rounds):
        once(arguments.tokens, weight_VD, targets_N)
    wait(device)
    return {"seconds": (time.perf_counter() - started) / rounds, "gib": (peak_bytes(device) - before) / 2**30}


def main() -> None:
    """Measure every line in a process of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--vocabulary", type=int, default=151936)
    parser.add_argument("--hidden", type=int, default=1536)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=10, help="forward and backward passes on CUDA")
    parser.add_argument("--chunks", nargs="*", default=["128", "512"])
    add_json(parser)
    parser.add_argument("--one", nargs=2, metavar=("FUNCTION", "VERSION"), help="measure this alone; print JSON")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(*arguments.one, arguments)))
        return
    shape = f"{arguments.tokens} tokens, vocabulary {arguments.vocabulary}, hidden {arguments.hidden}"
    print(f"{shape}, {arguments.dtype} on {arguments.device}, {torch.get_num_threads()} threads\n")
    print("| function | version | seconds | against plain | extra GiB | against plain |\n|---|---|---|---|---|---|")
    rows, rates = [], [product_rate(arguments.device)]
    versions = ["plain", "two pass, chunk automatic", "one pass, chunk automatic"]
    versions += [f"one pass, chunk {size}" for size in arguments.chunks]
    for function in FUNCTIONS:
        plain: dict[str, float] = {}
        for version in versions:
            command = [sys.executable, str(Path(__file__)), *sys.argv[1:], "--one", function, version]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"| {function} | {version} | failed: {(done.stderr.strip() or str(done.returncode))[-80:]} |")
                continue
            result = json.loads(done.stdout)
            plain = plain or result
            rates.append(product_rate(arguments.device))
            over = {f"{name}_over_plain": value / plain[name] for name, value in result.items()}
            rows.append({"function": function, "version": version, **result, **over})
            print(
                f"| {function} | {version} | {result['seconds']:.2f} | {result['seconds'] / plain['seconds']:.2f} "
                f"| {result['gib']:.2f} | {result['gib'] / plain['gib']:.3f} |",
                flush=True,
            )
    one_pass = {
        f"{row['function']}, one pass": {name: row[f"{name}_over_plain"] for name in ("seconds", "gib")}
        for row in rows if row["version"] == "one pass, chunk automatic"
    }  # fmt: skip
    write_figures(arguments.json, {"rows": rows, "over_plain": one_pass}, max(rates))


if __name__ == "__main__":
    main()
