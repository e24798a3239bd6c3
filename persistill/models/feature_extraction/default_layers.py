"""Which layers of a network to tap if its user names none."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from torch import nn

from persistill.models.feature_extraction.feature_layout import Size, channels_and_size, stride
from persistill.models.feature_extraction.timm_metadata import feature_info, layout
from persistill.models.feature_extraction.trace import Call

DEEP = 4
"""Taps along a network that keeps one resolution, as most transformers do: at each quarter of its depth."""


def default_layers(module: nn.Module, calls: Mapping[str, Call], image: Size) -> list[str]:
    """The last module of each stride.

    timm's networks state them (``feature_info``). In others the trace is followed through containers down to blocks; of
    each stride the last block is taken or, where there is no block, the last layer. Outputs of global pooling (1x1) do
    not count. Where all have one stride, the longest sequence of equal blocks is tapped at each quarter.

    Args:
        module: the network.
        calls: from ``trace``.
        image: height and width of the traced images.

    Returns:
        Module paths in the order of computation; none if nothing in the network looks like a feature map.
    """
    return _declared(module, calls, image) or _observed(module, calls, image)


def _declared(module: nn.Module, calls: Mapping[str, Call], image: Size) -> list[str]:
    """The layers in timm's feature information, or none if the trace contradicts it."""
    entries = feature_info(module)
    for entry in entries:
        call = calls.get(entry["module"])
        if call is None or call.output_shape is None or entry.get("hook_type", "forward") != "forward":
            return []
        found = layout(module, call.path, call.output_shape, image)
        if found is None or channels_and_size(call.output_shape, found, image)[0] != entry["num_chs"]:
            return []
    if len({entry["reduction"] for entry in entries}) == 1:
        return _quarters([entry["module"] for entry in entries])
    last = {entry["reduction"]: entry["module"] for entry in entries}
    return [path for path in calls if path in last.values()]


def _observed(module: nn.Module, calls: Mapping[str, Call], image: Size) -> list[str]:
    def resolution(path: str, shape: Sequence[int] | None) -> Size | None:
        found = None if shape is None else layout(module, path, shape, image)
        return None if shape is None or found is None else channels_and_size(shape, found, image)[1]

    blocks = {around for path in calls for around in _ancestors(path)}
    stages: dict[int, tuple[str, Size]] = {}
    for path in _steps(module, calls, resolution):
        size = resolution(path, calls[path].output_shape)
        if size is None or any(stride(size, image) < reached for reached in stages):
            continue  # no feature map, or a branch beside the main path
        if path in blocks or stages.get(stride(size, image), ("",))[0] not in blocks:
            stages[stride(size, image)] = path, size
    layers, sizes = [path for path, _ in stages.values()], [size for _, size in stages.values()]
    if sizes[-1:] == [(1, 1)] and (layers[-1] not in blocks or (len(sizes) > 1 and max(sizes[-2]) > 2)):
        layers.pop()  # pooled: a block comes here from 2x2
    if len(layers) == 1 and (row := _longest_sequence(module, calls, resolution)):
        return _quarters(row)
    outer = {call.returns_output_of: call.path for call in calls.values() if call.returns_output_of is not None}
    return [_outermost(path, outer, layers) for path in layers]


def _steps(
    module: nn.Module, calls: Mapping[str, Call], resolution: Callable[[str, Sequence[int] | None], Size | None]
) -> list[str]:
    """The modules on the main path, each of them a whole block where that changes resolution once.

    Opened are containers (``nn.Sequential``), modules between whose input and output lie other resolutions, and modules
    that return no map: a whole network inside a wrapper.
    """

    def is_container(path: str) -> bool:
        start, end = resolution(path, calls[path].input_shape), resolution(path, calls[path].output_shape)
        if end is None or isinstance(module.get_submodule(path), nn.Sequential):
            return True
        between = (resolution(other, calls[other].output_shape) for other in calls if _inside(other, path))
        return start is not None and any(size is not None and end[0] < size[0] < start[0] for size in between)

    def walk(inside: list[str]) -> list[str]:
        # A module ends after all that it calls: those inside it stand before it.
        found: list[str] = []
        among = set(inside)
        for path in inside:
            if not among.isdisjoint(_ancestors(path)):
                continue
            within = [other for other in inside if _inside(other, path)]
            found += walk(within) if within and is_container(path) else [path]
        return found

    return walk(list(calls))


def _longest_sequence(
    module: nn.Module, calls: Mapping[str, Call], resolution: Callable[[str, Sequence[int] | None], Size | None]
) -> list[str]:
    """The longest sequence of modules of one class and parent, called one after the other, that return feature maps."""

    def kind(path: str) -> tuple[str, type, Sequence[int] | None]:
        return path.rpartition(".")[0], type(module.get_submodule(path)), calls[path].output_shape

    parents = sorted({path.rpartition(".")[0] for path in calls})
    rows = [
        list(row)
        for parent in parents
        for (_, _, shape), row in groupby([p for p in calls if p.rpartition(".")[0] == parent], kind)
        if resolution(parent, shape) is not None
    ]
    longest = max(rows, key=len, default=[])
    return longest if len(longest) > 1 else []


def _quarters(row: Sequence[str]) -> list[str]:
    count = min(DEEP, len(row))
    return [row[-(-quarter * len(row) // count) - 1] for quarter in range(1, count + 1)]


def _outermost(path: str, outer: Mapping[str, str], layers: Sequence[str]) -> str:
    """The largest module that returns the same tensor and holds no other tap."""
    found = path
    while found in outer and not any(_inside(other, outer[found]) for other in layers if other != path):
        found = outer[found]
    return found


def _inside(path: str, other: str) -> bool:
    return path.startswith(f"{other}.")


def _ancestors(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]
