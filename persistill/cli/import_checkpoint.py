"""`persistill import-checkpoint`: the weights of somebody's training as safetensors, without running what is in it."""

from pathlib import Path
from typing import Annotated

import typer

from persistill.cli.console import console, quiet_start

SUMMARY = "Take the weights out of a .pth, .pt, .bin or .ckpt file, as safetensors."
EXAMPLES = (
    "persistill import-checkpoint resnet50.pth",
    "persistill import-checkpoint last.ckpt --entry state_dict --out teacher.safetensors",
)


def import_checkpoint(
    file: Annotated[Path, typer.Argument(help="What torch.save wrote in a training; or safetensors.")],
    output: Annotated[
        Path | None, typer.Option("--out", "--output", help="A new file; by default FILE with the ending .safetensors.")
    ] = None,
    entry: Annotated[
        str | None,
        typer.Option(
            "--entry",
            metavar="NAME",
            help="Where in the file the weights lie, if not in a usual place (state_dict, model, state_dict_ema, ...).",
        ),
    ] = None,
) -> None:
    """Take the weights out of a checkpoint of a training, and write them as safetensors.

    No code in the file is run. Of several sets of weights the averaged ones (EMA) are taken unless --entry names
    others. "module." and "_orig_mod." before all names are taken off, half precision becomes float32.
    """
    with quiet_start():
        from persistill.models import foreign_weights  # noqa: PLC0415 - torch is slow to import
    target = output or file.with_suffix(".safetensors")
    found = foreign_weights.import_checkpoint(file, target, entry)
    numbers = sum(tensor.numel() for tensor in found.tensors.values())
    names = [name for name, tensor in found.tensors.items() if tensor.ndim > 1]
    lines = [
        f"{len(found.tensors):,} tensors, {numbers:,} numbers" + (f", out of {found.entry!r}." if found.entry else "."),
        *([f"Also in the file: {', '.join(map(repr, found.others))}; --entry takes another."] if found.others else []),
        *found.notes,
        *(f"{name}  {tuple(found.tensors[name].shape)}" for name in dict.fromkeys([*names[:1], *names[-1:]])),
        (
            f"Wrote {target}. Use it with --teacher NETWORK --teacher-weights {target}, or --teacher-initial for other "
            "classes."
        ),
    ]
    for line in lines:
        console.print(line, soft_wrap=True)
