"""Memory that runs out is told from other errors, with what to lower."""

import errno
from typing import get_args

import pytest
import torch

from persistill.errors import UserError
from persistill.pipeline.out_of_memory import told_what_to_lower
from persistill.run_folder import Kind
from persistill.utils.memory import is_out_of_memory


def allocation_error() -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    return caught.value


def test_torchs_own_words_are_known() -> None:
    assert is_out_of_memory(allocation_error())


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOMEM, "x"), torch.OutOfMemoryError("CUDA")])
def test_what_to_lower_is_said(error: Exception) -> None:
    with (
        pytest.raises(UserError, match=r"student a: memory ran out.*train\.batch_size"),
        told_what_to_lower("student", "a"),
    ):
        raise error


@pytest.mark.parametrize("kind", get_args(Kind))
def test_there_is_advice_for_every_kind_of_stage(kind: Kind) -> None:
    with pytest.raises(UserError, match="Lower "), told_what_to_lower(kind, "a"):
        raise MemoryError


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "x"), RuntimeError("shapes do not fit"), ValueError("x")])
def test_other_errors_stay(error: Exception) -> None:
    with pytest.raises(type(error)), told_what_to_lower("student", "a"):
        raise error
