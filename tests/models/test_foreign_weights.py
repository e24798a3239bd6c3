"""Weights as people have them are read, and nothing in their files is run."""

import argparse
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from persistill import models
from persistill.cli import main
from persistill.errors import UserError
from persistill.models.foreign_weights import import_checkpoint, tidy


def network():
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=5)


@pytest.fixture(scope="module")
def state():
    return network().state_dict()


def same(found, state):
    return found.keys() == state.keys() and all(torch.equal(found[name], state[name]) for name in state)


def wrapped(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_wrappers_and_half_precision_are_read_at_once(state, tmp_path, prefix):
    path = tmp_path / "w.safetensors"
    halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    safetensors.torch.save_file(wrapped(halved, prefix), path)
    made = models.build("timm/test_resnet", 3, 5, (32, 32))
    models.load_into(made, path)
    assert same({name: t.float().half().float() for name, t in made.module.state_dict().items() if t.ndim > 1},
                {name: tensor.half().float() for name, tensor in state.items() if tensor.ndim > 1})  # fmt: skip
    other = models.build("timm/test_resnet", 3, 7, (32, 32))
    assert models.load_initial_weights(other, str(path)) == (
        f"the classifier starts fresh: the file {path} has 5 classes, the data 7",
    )


def test_networks_of_our_own_take_files_without_a_header_too(tmp_path):
    mine = models.build("resnet-8", 1, 5)
    kept = {name: t for name, t in mine.state_dict().items() if not name.endswith("num_batches_tracked")}
    safetensors.torch.save_file(wrapped(kept, "model."), tmp_path / "w.safetensors")
    other = models.build("resnet-8", 1, 5)
    assert models.load_into(other, tmp_path / "w.safetensors") == {}
    assert same(other.state_dict(), mine.state_dict())


def test_a_module_whose_own_names_begin_so_keeps_them():
    inner = nn.Sequential()
    inner.add_module("module", nn.Linear(2, 2))
    assert tidy(inner.state_dict(), inner.state_dict())[0].keys() == {"module.weight", "module.bias"}
    assert tidy({"model.weight": torch.zeros(1)})[0].keys() == {"model.weight"}


def averaged(state):
    return {**wrapped(state, "module."), "n_averaged": torch.tensor(9)}


def lightning(state):
    return {"epoch": 3, "state_dict": state, "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}}]}


@pytest.mark.parametrize(
    ("make", "entry", "others"),
    [
        (lambda state: state, "", ()),
        (averaged, "", ()),
        (lightning, "state_dict", ()),
        (lambda state: {"model": {"state_dict": wrapped(state, "_orig_mod.")}}, "model.state_dict", ()),
        (
            lambda state: {
                "args": argparse.Namespace(lr=0.1),
                "state_dict": {name: torch.zeros_like(tensor) for name, tensor in state.items()},
                "state_dict_ema": state,
                "optimizer": {"state": {"a": torch.zeros(2)}},
            },
            "state_dict_ema",
            ("state_dict",),
        ),
    ],
    ids=["plain", "averaged", "lightning", "nested", "timm"],
)
def test_checkpoints_of_trainings_are_imported(state, tmp_path, make, entry, others):
    torch.save(make(state), tmp_path / "last.pth")
    found = import_checkpoint(tmp_path / "last.pth", tmp_path / "w.safetensors")
    assert (found.entry, found.others) == (entry, others)
    assert same(safetensors.torch.load_file(tmp_path / "w.safetensors"), state)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def test_code_in_a_file_is_not_run(state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": state, "more": Evil()}, "evil.pth")
    with pytest.raises(UserError, match=r"evil\.pth holds more than tensors.*it was not read.*state dict alone"):
        import_checkpoint(Path("evil.pth"), Path("w.safetensors"))
    torch.save(network(), "whole.pth")
    with pytest.raises(UserError, match=r"whole\.pth holds more than tensors"):
        import_checkpoint(Path("whole.pth"), Path("w.safetensors"))
    assert {path.name for path in tmp_path.iterdir()} == {"evil.pth", "whole.pth"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read as a checkpoint"),
        (b"no checkpoint at all", "w.pth"),
        ({"epoch": 3, "best": 0.9}, "holds no weights"),
        ([1, 2], "holds no weights"),
        ({"w": torch.zeros(2, 2).to_sparse()}, "sparse, quantized or empty"),
    ],
)
def test_what_holds_no_weights_is_told(tmp_path, content, said):
    path = tmp_path / "w.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(UserError, match=said):
        import_checkpoint(path, tmp_path / "w.safetensors")
    assert not (tmp_path / "w.safetensors").exists()


def test_an_entry_can_be_named_and_nothing_is_overwritten(state, tmp_path):
    torch.save({"state_dict": state, "ema": {name: -tensor for name, tensor in state.items()}}, tmp_path / "w.pth")
    target = tmp_path / "w.safetensors"
    with pytest.raises(UserError, match=r"'state_dicts'\. Did you mean 'state_dict'"):
        import_checkpoint(tmp_path / "w.pth", target, "state_dicts")
    import_checkpoint(tmp_path / "w.pth", target, "state_dict")
    assert same(safetensors.torch.load_file(target), state)
    with pytest.raises(UserError, match="exists already and was not overwritten"):
        import_checkpoint(tmp_path / "w.pth", target)


def test_names_that_do_not_fit_stand_beside_the_networks(state, tmp_path):
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file({name.replace("conv1", "stem"): tensor for name, tensor in state.items()}, path)
    for call in (models.load_into, lambda made, file: models.load_initial_weights(made, str(file))):
        with pytest.raises(UserError, match=r"Names in the file alone: .*stem.*In the network alone: conv1\.0\.weight"):
            call(models.build("timm/test_resnet", 3, 5, (32, 32)), path)


def test_the_command_says_what_it_took(state, tmp_path, capsys):
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    torch.save({"state_dict": wrapped(half, "module."), "epoch": 1}, tmp_path / "last.ckpt")
    with pytest.raises(SystemExit) as left:
        main(["import-checkpoint", str(tmp_path / "last.ckpt")])
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert "out of 'state_dict'." in said
    assert "'module.' was taken from the beginning of all names." in said
    assert "float16 became float32." in said
    assert "fc.weight  (5, " in said
    assert (tmp_path / "last.safetensors").is_file()
