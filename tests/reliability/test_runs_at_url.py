"""A recipe whose run folders lie in a bucket, on machines that are lost."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from runs_equal import differences
from small_walks import RECIPE

import persistill
from persistill.cli.entry_point import main
from persistill.pipeline import Pipeline
from persistill.storage.object_store import ObjectStore

SHORT = RECIPE.with_value("seeds", (0,))


class LostError(BaseException):
    """The machine is gone."""


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URL of a bucket on a server of S3's protocol on this machine."""
    fsspec, s3fs = pytest.importorskip("fsspec"), pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with pytest.MonkeyPatch.context() as patch:
        server.start()
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key-of-nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-nobody")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        fsspec.filesystem("s3").mkdir("bucket")
        yield "s3://bucket"
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()


def test_another_machine_goes_on_where_one_was_lost(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{bucket}/runs"
    alone = Pipeline(SHORT, tmp_path / "alone", device="cpu")
    alone.run()

    upload, sent = ObjectStore.upload, list[str]()

    def lost_on_the_way(store: ObjectStore, path: Path, name: str) -> None:
        if name.startswith("student-kd") and sent and sent[-1].startswith("student-kd"):
            raise LostError
        sent.append(name)
        upload(store, path, name)

    monkeypatch.setenv("PERSISTILL_CACHE", str(tmp_path / "first"))
    with monkeypatch.context() as patch, pytest.raises(LostError):
        patch.setattr(ObjectStore, "upload", lost_on_the_way)
        persistill.run(SHORT, out=url, device="cpu")
    store = ObjectStore(url)
    kd = alone.graph.students["kd", 0].folder_name
    assert sent[-1].startswith(kd)
    assert "done.json" not in store.sizes(kd)
    before = {stage: store.read(f"{stage}/run.json") for stage in store.folders() if "done.json" in store.sizes(stage)}
    assert len(before) == 2  # the teacher, and the student alone

    monkeypatch.setenv("PERSISTILL_CACHE", str(tmp_path / "second"))
    result = persistill.run(SHORT, out=url, device="cpu", executor="processes", workers=1)
    names = [stage.folder_name for stage in alone.stages() if stage.kind not in ("export", "cost")]
    assert len(names) == 1 + 2 + 1 + 3 + 1
    cache = result.folder.parent
    assert [name for name in names if differences(tmp_path / "alone" / name, cache / name)] == []
    assert all(store.read(f"{name}/run.json") == content for name, content in before.items())
    for name in (*names, result.exported.name):
        there = {file: size for file, size in store.sizes(name).items() if file != "README.md"}
        own = [path for path in (cache / name).rglob("*") if path.is_file() and path.name != "README.md"]
        assert there == {
            path.relative_to(cache / name).as_posix(): path.stat().st_size
            for path in own
            if "tensorboard" not in path.parts and not path.name.startswith(".")
        }
    assert {"report.html", "done.json"} <= store.sizes(result.folder.name).keys()
    assert all(b"of-nobody" not in path.read_bytes() for path in cache.rglob("*") if path.is_file())


def test_what_lies_in_a_bucket_is_read(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PERSISTILL_CACHE", str(tmp_path))
    url = f"{bucket}/runs"
    store = ObjectStore(url)
    comparison = next(name for name in store.folders() if name.startswith("comparison-"))
    student = next(name for name in store.folders() if name.startswith("student-kd"))
    exported = next(name for name in store.folders() if name.startswith("export-"))

    def said(*arguments: str) -> str:
        with pytest.raises(SystemExit) as left:
            main(arguments)
        captured = capfd.readouterr()
        assert left.value.code == 0, captured.err
        return captured.out

    assert student in said("ls", "--out", url)
    store.write(f"{student}/extra.txt", b"")
    said_of_all = said("verify", url)
    assert "nothing is damaged" in said_of_all
    assert f"{url}/{student}/extra.txt: extra" in said_of_all
    assert "Wrote" in said("report", f"{url}/{comparison}", "--out", str(tmp_path / "page.html"))
    assert persistill.Result(f"{url}/{comparison}").require_exported().name == exported
    assert len(persistill.load(f"{url}/{exported}").classes) == 10
    said("eval", f"{url}/{student}", "--device", "cpu", "--noise", "0.1", "--set", "corruptions=()")
    assert len([name for name in store.folders() if name.startswith("evaluation-kd-seed0")]) == 2
