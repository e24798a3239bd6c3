"""How a comparison looks at test images."""

from collections.abc import Callable, Mapping

from torch import Tensor

TARGET = "target"
"""Under which name targets stand beside images."""
Look = Callable[[Tensor], Mapping[str, Tensor]]
"""Rows (n,) of the test split -> "image", (n, C, H, W) uint8; ``TARGET``, their targets; and by name what views show of
them, floats in [0, 1]."""
