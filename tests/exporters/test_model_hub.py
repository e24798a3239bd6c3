"""What would be uploaded, up to the network."""

import json

import pytest
import torch

from persistill.errors import UserError
from persistill.exporters import export_student, hub
from persistill.models import save
from persistill.run_folder import RunFolder


@pytest.fixture(scope="session")
def folder(trained, digits, settings, tmp_path_factory):
    """The run folder of an export, with records that are nobody's business."""
    run = RunFolder.create(tmp_path_factory.mktemp("hub"), "export", "kd-seed0", {"network": "x"})
    run.finish(export_student(trained, settings, digits[0][:2], run.path, formats=("onnx",)))
    return run.path


FILES = {"README.md", "classify.py", "model.json", "model.onnx", "model.safetensors"}


def test_only_the_student_and_its_card_are_saved(folder, trained, digits, tmp_path):
    files = hub.save_pretrained(folder, tmp_path / "saved", card="# My card\n")
    assert {path.name for path in files} == FILES
    assert (tmp_path / "saved" / "README.md").read_text() == "# My card\n"
    for name in FILES - {"README.md"}:
        assert (tmp_path / "saved" / name).read_bytes() == (folder / name).read_bytes()
    images = digits[0][:5] / 255
    with torch.no_grad():
        expected = trained((images - 0.31) / 0.38).logits
        assert torch.allclose(hub.from_pretrained(tmp_path / "saved")(images), expected, atol=1e-5)
    with pytest.raises(UserError, match="was left as it is"):
        hub.save_pretrained(folder, tmp_path / "saved")


def test_a_run_folder_is_saved_with_its_temperature(trained, settings, tmp_path):
    run = RunFolder.create(tmp_path, "student", "kd-seed0", {"model": "wrn-10-1"})
    about = {name: value for name, value in settings.items() if name != "temperature"}
    save(trained, run.file("model.safetensors"), about)
    with pytest.raises(UserError, match="not complete"):
        hub.save_pretrained(run.path, tmp_path / "early")
    run.finish({})
    measured = RunFolder.create(tmp_path, "evaluation", "kd-seed0", {"network": run.key})
    measured.finish({"metrics": {"calibrated": {"temperature": 2.5}}})
    hub.save_pretrained(run.path, tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {"README.md", "model.json", "model.safetensors"}
    assert json.loads((tmp_path / "saved" / "model.json").read_text())["temperature"] == 2.5
    card = (tmp_path / "saved" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: persistill\n")
    assert "softmax(logits / 2.5)" in card
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9" in card


@pytest.mark.parametrize("private", [True, False])
def test_a_push_makes_the_repository_and_uploads_all_files_at_once(folder, monkeypatch, private):
    asked = []

    class Api:
        def create_repo(self, name, **options):
            asked.append(("create", name, options))
            return f"https://huggingface.co/{name}"

        def upload_folder(self, *, folder_path, **options):
            from pathlib import Path

            asked.append(("upload", {path.name for path in Path(folder_path).iterdir()}, options))

    monkeypatch.setattr(hub, "HfApi", Api)
    assert hub.push_to_hub(folder, "me/digits", private=private) == "https://huggingface.co/me/digits"
    (create, name, options), (upload, files, more) = asked
    assert (create, name, options["private"], options["exist_ok"]) == ("create", "me/digits", private, True)
    assert (upload, files, more["repo_id"], more["repo_type"]) == ("upload", FILES, "me/digits", "model")


def test_the_hub_is_asked_for_the_weights_alone(folder, monkeypatch, digits):
    asked = []

    def download(name, file, revision):
        asked.append((name, file, revision))
        return str(folder / file)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    assert hub.from_pretrained("me/digits", "v1")(digits[0][:2] / 255).shape == (2, 10)
    assert asked == [("me/digits", "model.safetensors", "v1")]


def test_refusals_are_sentences(folder, monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise OSError("401 Client Error")

    monkeypatch.setattr(hub, "hf_hub_download", refuse)
    monkeypatch.setattr(hub.HfApi, "create_repo", refuse)
    with pytest.raises(UserError, match=r"of me/digits could not be loaded \(401 Client Error\).*hf auth login"):
        hub.from_pretrained("me/digits")
    with pytest.raises(UserError, match="could not be pushed to me/digits"):
        hub.push_to_hub(folder, "me/digits")
    for name in ("digits", "me/", "https://huggingface.co/me/digits"):
        with pytest.raises(UserError, match="write user/name"):
            hub.push_to_hub(folder, name)
    with pytest.raises(UserError, match="there is no folder nowhere, and 'nowhere' is no name"):
        hub.from_pretrained("nowhere")
    with pytest.raises(UserError, match="it is neither an export"):
        hub.save_pretrained(tmp_path, tmp_path / "x")
    with pytest.raises(UserError, match="there is no folder"):
        hub.save_pretrained(tmp_path / "none", tmp_path / "x")
    assert not (tmp_path / "x").exists()
