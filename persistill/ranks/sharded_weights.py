"""Networks of which every rank holds a part: frozen teachers that do not fit on one device.

Each large weight is split over the ranks, and made whole from all parts whenever a layer reads it, however it does:
torch's parametrizations do that where the weight is read, and need no hook before the layer's forward pass. When the
layer has computed, the whole is freed. Values and memory layouts are those of the whole network, bit for bit.

All ranks must ask the network at the same time, equally often, each about whatever it likes: ``Ranks.share`` sees to
that, and a training does.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from persistill.ranks.ranks import Ranks
from persistill.structures import share

SMALLEST = 4096


def shard_weights(network: nn.Module, ranks: Ranks, *, smallest: int = SMALLEST) -> None:
    """Keep this rank's part of every large weight of a frozen network, in place; a rank alone keeps all.

    Every rank must call it with the same network. Do so before the network is put on the device: then the device never
    holds the whole one.

    Args:
        network: whose parameters need no gradient. Tensors of which torch computes a weight (parametrizations) stay
            whole.
        ranks: among which weights are split.
        smallest: count of numbers of a weight that is split; smaller ones take less memory than time.
    """
    if ranks.size == 1:
        return
    found = [
        (module, name, weight)
        for module in network.modules()
        if not isinstance(module, parametrize.ParametrizationList)
        for name, weight in module.named_parameters(recurse=False, remove_duplicate=False)
        if weight.numel() >= smallest
    ]
    for module, name, weight in found:
        # Another parameter of the same numbers: several modules may have one in common, and torch changes it in place.
        setattr(module, name, nn.Parameter(weight.detach(), requires_grad=False))
        parametrize.register_parametrization(module, name, _Whole(weight, ranks), unsafe=True)


def holds_parts(network: nn.Module) -> bool:
    """Whether other ranks hold parts of a network, and must be asked whenever it is."""
    return any(isinstance(module, _Whole) for module in network.modules())


def hold_whole(module: nn.Module) -> None:
    """Gather a module that was split, in place, so that one rank can use or copy it; all ranks must call it."""
    for part in list(module.modules()):
        for name in _split(part):
            parametrize.remove_parametrizations(part, name)


def whole_weights(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of a network, split or not, by their names in ``state_dict``, in alphabetical order.

    All ranks must go through all of them; each is whole as long as the caller keeps it.
    """
    held = network.state_dict()
    split = {
        ".".join(filter(None, (path, "parametrizations", name, "original"))): (path, name)
        for path, module in network.named_modules()
        for name in _split(module)
    }
    plain = {".".join(filter(None, split.get(name, (name,)))): name for name in held}
    for stated, name in sorted(plain.items()):
        path, own = split.get(name, ("", ""))
        yield stated, getattr(network.get_submodule(path), own) if own else held[name]


def _split(module: nn.Module) -> list[str]:
    """Names of a module's own weights that are split."""
    if not parametrize.is_parametrized(module):
        return []
    return [name for name, made in module.parametrizations.items() if isinstance(made[0], _Whole)]  # type: ignore[operator, union-attr]


class _Whole(nn.Module):
    """The whole of a weight, of the parts that ranks hold.

    Args:
        weight: the whole.
        ranks: that hold a part each.
    """

    def __init__(self, weight: Tensor, ranks: Ranks) -> None:
        super().__init__()
        self._ranks, self._shape = ranks, weight.shape
        self._stride = _dense(weight).stride()
        slices = [share(weight.numel(), rank, ranks.size) for rank in range(ranks.size)]
        self._own, self._counts = slices[ranks.rank], [part.stop - part.start for part in slices]

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The own part of a whole weight: numbers that follow each other in memory."""
        return _flat(_dense(weight))[self._own].clone()

    def forward(self, part: Tensor) -> Tensor:
        """The whole weight of all ranks' parts."""
        return self._ranks.gather(part, self._counts).as_strided(self._shape, self._stride)


def _dense(weight: Tensor) -> Tensor:
    """A weight without gaps in memory, in its own layout if it has none."""
    layouts = [torch.contiguous_format, *([torch.channels_last] if weight.ndim == 4 else [])]
    dense = any(weight.is_contiguous(memory_format=layout) for layout in layouts)
    return weight.detach() if dense else weight.detach().contiguous()


def _flat(dense: Tensor) -> Tensor:
    return dense.as_strided((dense.numel(),), (1,))
