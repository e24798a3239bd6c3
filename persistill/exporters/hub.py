"""A student as a model repository of the Hugging Face Hub: its files and a card, without what only its maker needs."""

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, hf_hub_download

from persistill import models, schemas
from persistill.errors import UserError
from persistill.exporters.detector_student import DetectorStudent
from persistill.exporters.export_task import CLASSIFY
from persistill.exporters.exporter import CONFIG, export_student
from persistill.exporters.student import WEIGHTS, Student, load_student, read
from persistill.exporters.temperature import fitted_temperature
from persistill.run_folder import RunFolder
from persistill.utils.atomic_io import atomic, read_json

CARD = "README.md"
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def save_pretrained(source: Path, target: Path, card: str | None = None, *, model: str | None = None) -> list[Path]:
    """Gather what makes a model repository: a student's files and its card. Run records stay behind.

    Args:
        source: an export's folder, all of whose formats are taken; or a student's run folder, whose weights are taken,
            with the temperature of its newest evaluation.
        target: a new or an empty folder.
        card: text of README.md, as ``report.model_card`` writes it; None for a plain one, from ``model.json``.
        model: the network's name, which must be given for one of your own ("package.module:function"): that code runs.

    Returns:
        The files.

    Raises:
        UserError: if there is no student, or the target holds something.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists already and was left as it is; give a new or an empty folder.")
    if not source.is_dir():
        raise UserError(f"there is no folder {source}. Give an export's folder or a student's run folder.")
    exported = (source / CONFIG).is_file()
    if not exported and not (source / WEIGHTS).is_file():
        raise UserError(
            f"{source} holds neither {CONFIG} nor {WEIGHTS}: it is neither an export nor a student's run folder."
        )
    target.mkdir(parents=True, exist_ok=True)
    if exported:
        config = _read_config(source / CONFIG)
        for name in [*config["files"].values(), config.get("script", CLASSIFY.script), CONFIG]:
            if (source / name).is_file():
                with atomic(target / name) as temporary:
                    shutil.copyfile(source / name, temporary)
    else:
        _export_weights(source, target, model)
    with atomic(target / CARD) as temporary:
        text = _plain_card(_read_config(target / CONFIG), target) if card is None else card
        temporary.write_text(text, encoding="utf-8")
    return sorted(target.iterdir())


def from_pretrained(
    source: str | Path, revision: str | None = None, *, model: str | None = None
) -> Student | DetectorStudent:
    """Load a student from a local folder or from the Hub.

    Args:
        source: a folder with ``model.safetensors``, or "user/name". A folder of that name comes first.
        revision: of a Hub repository: a branch, tag or commit; None for the newest.
        model: the network's name, which must be given for one of your own ("package.module:function"): that code runs.

    Returns:
        The student, on the CPU and in evaluation mode: images in [0, 1] in, logits out; a detector finds the objects in
        one image.

    Raises:
        UserError: if there is no such folder or repository, or it holds no student of persistill's, or one of another
            network than ``model``.
    """
    if Path(source).is_dir():
        return load_student(Path(source), model)
    _require_name(str(source), f"there is no folder {source}, and")
    try:
        file = hf_hub_download(str(source), WEIGHTS, revision=revision)
    except Exception as error:
        raise _unreached(f"{WEIGHTS} of {source} could not be loaded", error) from error
    return read(Path(file), model)


def push_to_hub(
    source: Path, name: str, *, private: bool = True, card: str | None = None, model: str | None = None
) -> str:
    """Upload a student to the Hub, into a new repository or as a new version in an old one.

    The account is that of ``hf auth login`` or of the environment variable HF_TOKEN.

    Args:
        source: as for ``save_pretrained``.
        name: "user/name".
        private: whether a new repository can be seen by its owner alone; of an old one nothing is changed.
        card: as for ``save_pretrained``.
        model: likewise.

    Returns:
        The repository's address.

    Raises:
        UserError: if there is no student, or the Hub refuses or cannot be reached.
    """
    _require_name(name, "")
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(source, Path(folder), card, model=model)
        api = HfApi()
        try:
            address = api.create_repo(name, private=private, exist_ok=True, repo_type="model")
            api.upload_folder(repo_id=name, folder_path=folder, commit_message="Add the student", repo_type="model")
        except Exception as error:
            raise _unreached(f"{source} could not be pushed to {name}", error) from error
    return str(address)


def _require_name(name: str, first: str) -> None:
    if not _NAME.fullmatch(name):
        raise UserError(f"{first} {name!r} is no name of a repository: write user/name.".strip())


def _unreached(what: str, error: Exception) -> UserError:
    # What the Hub's library raises, and its HTTP library under it, has no common class over its versions.
    said = " ".join(str(error).split()) or type(error).__name__
    return UserError(
        f"{what} ({said}). Check the name and the network; to write, or to read what is private, log in with hf auth "
        "login, or set HF_TOKEN."
    )


def _export_weights(source: Path, target: Path, model: str | None) -> None:
    """Export the weights of a run folder, compared with themselves on noise."""
    run = RunFolder.open(source)
    run.result()
    network, about = models.load(run.checked(WEIGHTS), model)
    if about.get("view", "image") != "image":
        raise UserError(f"{source} takes the view {about['view']!r}, not images: only students can be exported.")
    temperature = fitted_temperature(run)
    if temperature is not None:
        about["temperature"] = temperature
    noise = torch.randint(256, (8, *about["shape"]), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    export_student(network, about, noise, target, formats=())


def _read_config(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = read_json(path)
    schemas.check(schemas.ExportedStudent, config, str(path), "Export the network again.")
    return config


def _plain_card(config: Mapping[str, Any], folder: Path) -> str:
    channels, height, width = config["input"]["shape"][1:]
    temperature = config.get("temperature", 1.0)
    classes = ", ".join(map(str, config["classes"][:20])) + (", ..." if len(config["classes"]) > 20 else "")
    files = "\n".join(f"| `{path.name}` | {path.stat().st_size:,} |" for path in sorted(folder.glob("model.*")))
    calibrated = "" if temperature != 1 else " No temperature was fitted."
    return f"""---
library_name: persistill
pipeline_tag: image-classification
tags: [knowledge-distillation]
---

# {config.get("model", "student")}

A student that persistill distilled: {config.get("parameters", 0):,} parameters.

* Input: images of {channels} x {height} x {width} (channels, height, width), float32 in [0, 1]; normalization happens
  inside.
* Output: logits of {len(config["classes"])} classes: {classes}.
* Confidence: softmax(logits / {temperature:.4g}).{calibrated}

| file | bytes |
| --- | ---: |
{files}

```python
from persistill.exporters.hub import from_pretrained

student = from_pretrained("user/name")  # or a folder
logits = student(images)  # (B, {channels}, {height}, {width}) in [0, 1]
```
"""
