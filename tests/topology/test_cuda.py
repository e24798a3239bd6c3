"""The Triton kernels, on a GPU if there is one, and else in Triton's interpreter, which must be chosen before Triton is
first imported: hence other processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")
HERE = Path(__file__).parent


def run(name, **variables):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / name)]
    return subprocess.run(
        command, cwd=HERE.parent.parent, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "name", ["cuda_sublevel_1d.py", "cuda_persistence_image.py", "cuda_vietoris_rips.py", "cuda_calls.py"]
)
def test_kernels_agree_with_the_references(name):
    done = run(name, **({} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="the other tests compile them")
def test_kernels_compile_for_a_gpu_that_is_not_here():
    done = run("cuda_compiled.py", TRITON_INTERPRET="0")
    assert done.returncode == 0, done.stdout + done.stderr
