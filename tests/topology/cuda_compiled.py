"""Run by test_cuda.py, in a process of their own: what the interpreter accepts need not compile.

The functions are called with tensors on the CPU, and wherever a kernel would be launched, it is compiled to machine
code instead. Nothing is computed.
"""

import numpy as np
import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from persistill.topology import PersistenceImageConfig
from persistill.topology._triton import persistence_image as triton_images
from persistill.topology._triton import sublevel_1d as triton_signals
from persistill.topology._triton import vietoris_rips_h0 as triton_clouds

KINDS = {
    torch.uint8: "*u8",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
}


def is_one(value):
    return isinstance(value, int) and value == 1


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    """The kernels, instead of being launched: their names."""
    found = []

    def run(self, *args, grid, warmup, **options):
        names = self.arg_names
        values = dict(zip(names, args, strict=False)) | {name: options.pop(name) for name in names if name in options}
        # Triton makes a constant of an argument that is 1.
        constants = {
            param.name: values[param.name] for param in self.params if param.is_constexpr or is_one(values[param.name])
        }
        signature = {
            name: "constexpr" if name in constants else KINDS[value.dtype] if isinstance(value, torch.Tensor) else "i32"
            for name, value in values.items()
        }
        source = ASTSource(self, signature, {(names.index(name),): value for name, value in constants.items()})
        kernel = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        assert len(kernel.asm["cubin"]) > 0
        found.append(self.__name__)
        for value in values.values():
            if isinstance(value, torch.Tensor) and value.dtype == torch.int64:
                value.zero_()  # instead of indices that would be out of range

    monkeypatch.setattr(JITFunction, "run", run)
    return found


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_pairs(compiled, dtype):
    triton_signals.padded_pairs(torch.zeros(2, 5000, dtype=dtype), 0.0, essential=True)
    assert compiled == ["_leaves", "_branches", "_search"]


@pytest.mark.parametrize(("dtype", "scaling"), [(torch.uint8, "max"), (torch.uint8, "log"), (torch.float32, "max")])
def test_images(compiled, dtype, scaling):
    settings = PersistenceImageConfig(scaling=scaling)
    images = torch.from_numpy(np.zeros((2, 1, 8, 8))).to(dtype)
    triton_images.scan_persistence_images(images, settings, ("rows",), None)
    assert compiled == ["_leaves", "_search", "_render", "_render"][: 4 if scaling == "max" else 3]


def test_the_smallest_images_and_images(compiled):
    settings = PersistenceImageConfig((1, 1))
    triton_images.scan_persistence_images(torch.zeros(1, 1, 1, 1), settings, ("rows",), None)
    assert compiled == ["_leaves", "_search", "_render", "_render"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clouds(compiled, dtype):
    points = torch.zeros(2, 64, 64, dtype=dtype, requires_grad=True)
    triton_clouds.mst_lengths(points, distances=False).sum().backward()
    triton_clouds.mst_lengths(torch.zeros(2, 9, 9, dtype=dtype), distances=True)
    triton_clouds.mst_lengths(torch.zeros(1, 2, 1, dtype=dtype, requires_grad=True), distances=False).sum().backward()
    assert compiled == ["_measure", "_prim", "_pull", "_prim", "_measure", "_prim", "_pull"]
