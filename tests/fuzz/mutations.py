"""Changes that somebody, or a damaged disk, may make to a file: by value, by structure, by byte."""

import copy
import json
import random
from pathlib import Path
from typing import Any

from persistill.run_folder import FORMAT, fingerprint, key_of
from persistill.utils import file_hashes
from persistill.utils.atomic_io import encode_json

HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 5.0, -0.5, 1e-320, 1e308, -1e308, 2**31, 2**63, -(2**70), 10**400),
    *(float("nan"), float("inf"), -float("inf")),
    *("", "x", "nan", "1e999", "0", "../../../etc/passwd", "/etc/passwd", "..", "a\x00b", "\ud800", "[bold]x[/]"),
    "x" * 3000,
    *([], {}, [[]], [None], {"": None}, {"is": "builtins:dict"}, "builtins:exec"),
)
"""Values that no file of ours holds in most of its places."""


def deep(levels: int, *, of: str = "list") -> Any:
    """Lists or objects within each other."""
    value: Any = 0
    for _ in range(levels):
        value = [value] if of == "list" else {"a": value}
    return value


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all values inside, the whole one first."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*path, key))
    return found


def mutated(value: Any, draw: random.Random) -> Any:
    """A copy with one value replaced, removed, doubled, retyped or moved."""
    whole = {"": copy.deepcopy(value)}
    path = ("", *draw.choice(places(value)))
    parent: Any = whole
    for key in path[:-1]:
        parent = parent[key]
    key, old = path[-1], parent[path[-1]]
    action = draw.randrange(8)
    if action <= 3:
        parent[key] = draw.choice(HOSTILE)
    elif action == 4 and len(path) > 1:
        del parent[key]
    elif action == 5:
        parent[key] = [old, old] if draw.random() < 0.5 else {"value": old}
    elif action == 6:
        parent[key] = deep(draw.choice((3, 70, 400)), of=draw.choice(("list", "object")))
    elif isinstance(old, bool | int | float):
        parent[key] = draw.choice((str(old), -old, old * 1000 + 7, old + 0.5, [old]))
    elif isinstance(old, list) and old:
        parent[key] = draw.choice((old[:-1], old * 2, old[::-1], dict.fromkeys(map(str, range(len(old))))))
    elif isinstance(old, dict) and old:
        parent[key] = draw.choice((list(old), list(old.values()), {f"{name} ": item for name, item in old.items()}))
    else:
        parent[key] = draw.choice((f"{old}x", [str(old)], {"is": str(old)}, 7))
    return whole[""]


def mutated_bytes(content: bytes, draw: random.Random) -> bytes:
    """A copy cut short, with bytes changed, removed or put in."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        place = draw.randrange(max(1, len(changed)))
        action = draw.randrange(5)
        if action == 0 and changed:
            changed[place : place + 1] = bytes([draw.randrange(256)])
        elif action == 1:
            changed[place:place] = bytes(draw.randrange(256) for _ in range(draw.choice((1, 4, 64))))
        elif action == 2:
            del changed[place : place + draw.choice((1, 8, 200))]
        elif action == 3:
            del changed[place:]
        elif changed:
            changed[place] ^= 1 << draw.randrange(8)
    return bytes(changed)


def dumped(value: Any) -> bytes:
    """JSON as Python writes it, NaN and half characters included."""
    return json.dumps(value, indent=1).encode("utf-8", "surrogatepass")


def sign(folder: Path) -> None:
    """Make ``files.json`` and the key fit what the folder holds now, as a forger would: hashes alone stop nobody."""
    try:
        about = json.loads((folder / "run.json").read_bytes())
        if about["format"] == FORMAT:
            about["key"] = key_of(about["kind"], about["inputs"])
            (folder / "run.json").write_bytes(dumped(about))
    except (ValueError, KeyError, TypeError, RecursionError):
        pass  # no longer such a file
    try:
        left = json.loads((folder / "files.json").read_bytes())
        names = [name for name in left["files"] if (folder / name).is_file()]
        left["files"] = {name: file_hashes.of_file(folder / name) for name in names}
        left.pop("key", None)
        (folder / "files.json").write_bytes(encode_json({**left, "key": fingerprint(left)}))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
