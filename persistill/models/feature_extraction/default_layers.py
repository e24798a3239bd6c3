"""Where to tap a foreign network whose user named no taps."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from torch import nn

from persistill.models.feature_extraction.feature_layout import Size, size_of, stride
from persistill.models.feature_extraction.timm_metadata import feature_info, layout
from persistill.models.feature_extraction.trace import Call

DEEP = 4
"""Taps along a network that keeps one resolution, as most transformers do: at each quarter of its depth."""


def default_taps(module: nn.Module, calls: Mapping[str, Call], image: Size) -> list[str]:
    """The last module of each stride.

    timm's networks name them (``feature_info``). In others, as the probe saw them at work, the network is followed
    through its containers down to its blocks; of each stride the last block counts or, where there is no block, the
    last layer. What pooling leaves at 1x1 does not count. Where all have one stride, the longest row of like blocks is
    tapped at each quarter.

    Args:
        module: the network.
        calls: from ``probe``.
        image: height and width of the probe's images.

    Returns:
        Module paths in the order of computation; none if nothing in the network looks like a map.
    """
    return _declared(module, calls, image) or _observed(module, calls, image)


def _declared(module: nn.Module, calls: Mapping[str, Call], image: Size) -> list[str]:
    """The taps of timm's feature information, or none if the network at work does not bear it out."""
    entries = feature_info(module)
    for entry in entries:
        call = calls.get(entry["module"])
        if call is None or call.outgoing is None or entry.get("hook_type", "forward") != "forward":
            return []
        found = layout(module, call.path, call.outgoing, image)
        if found is None or size_of(call.outgoing, found, image)[0] != entry["num_chs"]:
            return []
    if len({entry["reduction"] for entry in entries}) == 1:
        return _quarters([entry["module"] for entry in entries])
    last = {entry["reduction"]: entry["module"] for entry in entries}
    return [path for path in calls if path in last.values()]


def _observed(module: nn.Module, calls: Mapping[str, Call], image: Size) -> list[str]:
    def resolution(path: str, shape: Sequence[int] | None) -> Size | None:
        found = None if shape is None else layout(module, path, shape, image)
        return None if shape is None or found is None else size_of(shape, found, image)[1]

    blocks = {around for path in calls for around in _ancestors(path)}
    stages: dict[int, tuple[str, Size]] = {}
    for path in _steps(module, calls, resolution):
        size = resolution(path, calls[path].outgoing)
        if size is None or any(stride(size, image) < reached for reached in stages):
            continue  # no map, or a branch beside the way down
        if path in blocks or stages.get(stride(size, image), ("",))[0] not in blocks:
            stages[stride(size, image)] = path, size
    taps, sizes = [path for path, _ in stages.values()], [size for _, size in stages.values()]
    if sizes[-1:] == [(1, 1)] and (taps[-1] not in blocks or (len(sizes) > 1 and max(sizes[-2]) > 2)):
        taps.pop()  # pooled: a block comes here from 2x2
    if len(taps) == 1 and (row := _longest_row(module, calls, resolution)):
        return _quarters(row)
    outer = {call.passes_on: call.path for call in calls.values() if call.passes_on is not None}
    return [_outermost(path, outer, taps) for path in taps]


def _steps(
    module: nn.Module, calls: Mapping[str, Call], resolution: Callable[[str, Sequence[int] | None], Size | None]
) -> list[str]:
    """The modules that an image passes on its way down, each of them a whole block where that changes resolution once.

    Opened are containers (``nn.Sequential``), modules between whose input and output lie other resolutions, and modules
    that return no map: a whole network inside a wrapper.
    """

    def opened(path: str) -> bool:
        start, end = resolution(path, calls[path].incoming), resolution(path, calls[path].outgoing)
        if end is None or isinstance(module.get_submodule(path), nn.Sequential):
            return True
        between = (resolution(other, calls[other].outgoing) for other in calls if _inside(other, path))
        return start is not None and any(size is not None and end[0] < size[0] < start[0] for size in between)

    def walk(inside: list[str]) -> list[str]:
        # A module ends after all that it calls: those inside it stand before it.
        found: list[str] = []
        among = set(inside)
        for path in inside:
            if not among.isdisjoint(_ancestors(path)):
                continue
            within = [other for other in inside if _inside(other, path)]
            found += walk(within) if within and opened(path) else [path]
        return found

    return walk(list(calls))


def _longest_row(
    module: nn.Module, calls: Mapping[str, Call], resolution: Callable[[str, Sequence[int] | None], Size | None]
) -> list[str]:
    """The longest row of modules of one class, children of one parent, called one after the other, that return maps."""

    def kind(path: str) -> tuple[str, type, Sequence[int] | None]:
        return path.rpartition(".")[0], type(module.get_submodule(path)), calls[path].outgoing

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


def _outermost(path: str, outer: Mapping[str, str], taps: Sequence[str]) -> str:
    """The largest module that returns the same tensor and holds no other tap."""
    found = path
    while found in outer and not any(_inside(other, outer[found]) for other in taps if other != path):
        found = outer[found]
    return found


def _inside(path: str, other: str) -> bool:
    return path.startswith(f"{other}.")


def _ancestors(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]
