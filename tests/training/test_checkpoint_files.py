"""A large state lies in several files of a checkpoint, and is read as what it was; its copies end with it."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import torch.distributed as dist
from samples import ALONE
from test_step import tiny_policy

from sgpo.training.checkpoints import sharded_state
from sgpo.training.checkpoints.checkpoint import load_checkpoint, save_checkpoint, verify_checkpoint
from sgpo.training.checkpoints.sharded_state import staged


def trained_policy(tokenizer):
    policy = tiny_policy(tokenizer)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=0.1)
    for parameter in policy.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return policy, optimizer


def test_a_large_state_is_split_over_files_and_comes_back_whole(tokenizer, tmp_path, monkeypatch):
    policy, optimizer = trained_policy(tokenizer)
    save_checkpoint(tmp_path / "one", policy, (optimizer,), {"step": 3}, keep=1, world=ALONE)
    assert len(list((tmp_path / "one" / "step-000003").glob("*.safetensors"))) == 1
    monkeypatch.setattr(sharded_state, "FILE_BYTES", 60_000)
    save_checkpoint(tmp_path / "many", policy, (optimizer,), {"step": 3}, keep=1, world=ALONE)
    verify_checkpoint(tmp_path / "many" / "step-000003")
    files = list((tmp_path / "many" / "step-000003").glob("shard-00001-*.safetensors"))
    assert len(files) > 3
    largest = max(value.numel() * value.element_size() for value in policy.state_dict().values())
    assert max(file.stat().st_size for file in files) < 60_000 + largest
    other, its = trained_policy(tokenizer)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    state = load_checkpoint(tmp_path / "many", other, (its,))
    assert state == {"step": 3}
    for (name, mine), (_, theirs) in zip(policy.named_parameters(), other.named_parameters(), strict=True):
        assert torch.equal(mine, theirs), name
        assert torch.equal(optimizer.state[mine]["exp_avg"], its.state[theirs]["exp_avg"])


@pytest.mark.parametrize("fused", [True, False])
def test_an_optimizers_count_of_steps_comes_back_to_where_torch_would_put_it(fused, tmp_path) -> None:
    """On the parameter's device where one kernel reads both: a GPU, or here one that holds nothing."""
    trained, resumed = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2, device="meta")
    optimizer, ours, plain = (
        torch.optim.AdamW(module.parameters(), fused=fused) for module in (trained, resumed, resumed)
    )
    trained(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    alone = not dist.is_initialized()
    if alone:  # DCP asks it which device is meant in place of one that holds nothing
        store = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage]
        dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        sharded_state.write(sharded_state.collect(trained, (optimizer,)), tmp_path)
        sharded_state.read(tmp_path, resumed, (ours,), sharded_state.hyperparameters((optimizer,)))
    finally:
        if alone:
            dist.destroy_process_group()
    plain.load_state_dict(optimizer.state_dict())
    for parameter in resumed.parameters():
        for name, value in plain.state[parameter].items():
            assert ours.state[parameter][name].device == value.device, name
            assert ours.state[parameter][name].dtype == value.dtype, name


def test_copies_for_a_checkpoint_end_with_it() -> None:
    """Without Python's collector: a cycle would hold the whole state of a run in main memory until it comes by."""
    original = {"a": torch.ones(3), "b": torch.ones(2, 2)}
    gc.collect()
    gc.disable()
    try:
        copies = staged(original)
        assert all(torch.equal(copies[name], value) for name, value in original.items())
        storages = [weakref.ref(value.untyped_storage()) for value in copies.values()]
        assert copies["a"].data_ptr() != original["a"].data_ptr()
        assert all(storage() is not None for storage in storages)
        copies.clear()
        assert [storage() for storage in storages] == [None, None]
    finally:
        gc.enable()
