"""What is read from files that anybody may have written is believed only where it can be true."""

import json

import pytest
import torch
from safetensors.torch import save_file

from persistill import schemas
from persistill.errors import UserError
from persistill.inference import load
from persistill.models import build, save
from persistill.run_folder import DamagedRunError, RunFolder
from persistill.utils.strict_json import decode_json

ABOUT = {"classes": list("abc"), "mean": [0.5], "std": [0.25], "shape": [1, 8, 8], "view": "image"}
METRICS = {"accuracy": 0.5, "nll": 1.0, "ece": 0.1, "calibrated": {"temperature": 2.0, "nll": 0.9}}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested deeper than 64 levels"),
        ("[" * 70 + "]" * 70, "nested deeper than 64 levels"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested deeper than 64 levels"),
        ("NaN", "NaN is no number of JSON"),
        ("[-Infinity]", "-Infinity is no number"),
        ("1e999", "1e999 is too large for a number"),
        (str(2**63), "is too large for a whole number"),
        ("9" * 10_000, "is too large for a whole number"),
        (r'{"\ud800": 1}', "holds half a character"),
        (b"\xff", "can't decode"),
        ("{", "Expecting"),
    ],
)
def test_json_that_breaks_its_readers_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        decode_json(text)


def test_json_of_ours_is_read():
    content = {"a": [1, -2.5e-300, None, True, "\U0001f600 \\ é"], "b": {"c": 2**63 - 1}}
    assert decode_json(json.dumps(content)) == content
    nested = "[" * 60 + "]" * 60
    assert json.dumps(decode_json(nested)) == nested


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"temperature": -1.0}, "temperature should be greater than or equal to 0.05; it is -1.0"),
        ({"temperature": 1e-320}, "temperature should be greater than or equal to 0.05"),
        ({"temperature": True}, "temperature should be a valid number; it is True"),
        ({"std": [-0.25]}, r"std\.0 should be greater than 0.0+1; it is -0.25"),
        ({"std": [0]}, r"std\.0 should be greater than"),
        ({"mean": [0.5, 0.5]}, "mean has 2 entries, and the network 1 channels"),
        ({"classes": ["a", "b"]}, "classes has 2 entries, and the network 3"),
        ({"shape": [1, 8]}, "shape list should have at least 3 items"),
        ({"shape": [1, 8, 10**6]}, "shape.2 should be less than or equal to 65536; it is 1000000"),
        ({"shape": [3, 8, 8]}, "shape has 3 channels, and the network 1"),
        ({"classes": None, "view": 3}, "view should be a valid string"),
    ],
)
def test_headers_of_weights_are_not_believed(tmp_path, changes, said):
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    save(build("resnet-8", 1, 3), path, {**ABOUT, **changes})
    with pytest.raises(UserError, match=f"the header of .*{said}.*Export the network again"):
        load(path)


@pytest.mark.parametrize("header", ["NaN", "[1]", '{"format": NaN}', "[" * 5000, '"\\ud800"'])
def test_headers_that_are_no_objects_are_named(tmp_path, header):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"persistill": header})
    with pytest.raises(UserError, match="not one that persistill wrote"):
        load(path)


def write_onnx(path, config, *, output="logits", classes=3):
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], [output]),
        ],
        "student",
        [helper.make_tensor_value_info("image", kind, ["batch", 1, 2, 2])],
        [helper.make_tensor_value_info(output, kind, ["batch", classes])],
        [helper.make_tensor("weight", kind, (4, classes), [0.5] * (4 * classes))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {"persistill": config if isinstance(config, str) else json.dumps(config)})
    path.write_bytes(model.SerializeToString())


CONFIG = {"classes": list("abc"), "input": {"shape": ["batch", 1, 2, 2]}}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({**CONFIG, "temperature": 0}, "temperature should be greater than or equal to 0.05; it is 0"),
        ({**CONFIG, "classes": []}, "classes list should have at least 1 item"),
        ({**CONFIG, "classes": "abc"}, "classes should be a valid list; it is 'abc'"),
        ({**CONFIG, "input": {"shape": ["batch", 1, "batch", 2]}}, "input: shape must be"),
        ({"classes": list("abc")}, "input is missing"),
        ('{"classes": NaN}', "does not name its classes"),
    ],
)
def test_metadata_of_onnx_files_are_not_believed(tmp_path, config, said):
    write_onnx(tmp_path / "model.onnx", config)
    with pytest.raises(UserError, match=said):
        load(tmp_path / "model.onnx")


def test_onnx_files_that_answer_something_else_are_named(tmp_path):
    images = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    write_onnx(tmp_path / "model.onnx", CONFIG)
    assert load(tmp_path / "model.onnx").predict_pixels(images)[0].confidence == pytest.approx(1 / 3)
    write_onnx(tmp_path / "model.onnx", {**CONFIG, "input": {"shape": ["batch", 1, 3, 3]}})
    with pytest.raises(UserError, match="cannot answer"):
        load(tmp_path / "model.onnx").predict_pixels(torch.zeros(1, 1, 3, 3, dtype=torch.uint8))
    write_onnx(tmp_path / "model.onnx", CONFIG, output="other")
    with pytest.raises(UserError, match="cannot answer"):
        load(tmp_path / "model.onnx").predict_pixels(images)
    write_onnx(tmp_path / "model.onnx", CONFIG, classes=5)
    with pytest.raises(UserError, match=r"logits of shape \(1, 5\).*3 classes"):
        load(tmp_path / "model.onnx").predict_pixels(images)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"accuracy": 5.0}, r"metrics\.accuracy should be less than or equal to 1\.000001; it is 5\.0"),
        ({"accuracy": "0.5"}, r"metrics\.accuracy should be a valid number; it is '0\.5'"),
        ({"calibrated": {"temperature": -1.0}}, r"metrics\.calibrated\.temperature should be greater"),
        ({"calibrated": None}, "calibrated is null"),
        ({"noise": {"much": 0.5}}, r"metrics\.noise\.much"),
        ({"selective": {"coverage": [0.5, 1.0], "accuracy": [1.0]}}, "accuracy has 1 entries, and coverage 2"),
        ({"ap50": 1.5}, r"metrics\.ap50 should be less than"),
        ({"errors": {"right": -1}}, r"metrics\.errors\.right should be greater.*errors\.misplaced is missing"),
        ({"by_class": {"ap": [0.5], "ap50": [], "objects": [3]}}, "ap50 has 0 entries, and objects 1"),
    ],
)
def test_figures_that_cannot_be_are_not_believed(tmp_path, changes, said):
    folder = RunFolder.create(tmp_path, "evaluation", "a", {"network": "b"})
    folder.finish({"metrics": METRICS, "images": 10})
    assert folder.result()["metrics"] == METRICS
    folder.finish({"metrics": {**METRICS, **changes}, "images": 10})
    for read in (folder.result, folder.verify):
        with pytest.raises(DamagedRunError, match=f"done.json is not to be believed: .*{said}.*Run its recipe again"):
            read()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": [{"arm": "a", "seed": 0, "run": "../../x", "evaluation": "e"}]}, r"rows\.0\.run"),
        ({"export": "/etc"}, "export string should match"),
        ({"rows": [{"arm": "a", "seed": 0}]}, r"rows\.0\.run is missing\. rows\.0\.evaluation is missing"),
    ],
)
def test_comparisons_lead_to_folders_beside_them_alone(tmp_path, changes, said):
    folder = RunFolder.create(tmp_path, "comparison", "a", {"recipe": {"name": "a"}})
    folder.finish({"classes": ["a"], **changes})
    with pytest.raises(DamagedRunError, match=said):
        folder.result()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inputs": {"network": "c"}}, "does not hold the inputs of key"),
        ({"inputs": 3}, "inputs should be a valid dictionary; it is 3"),
        ({"created": 3}, "created should be a valid string"),
        ({"context": {"computed": {"threads": "all"}}}, r"context\.computed\.threads"),
        ({"kind": ["evaluation"]}, "is not of format"),
    ],
)
def test_run_json_is_not_believed(tmp_path, changes, said):
    folder = RunFolder.create(tmp_path, "evaluation", "a", {"network": "b"})
    (folder.path / "run.json").write_text(json.dumps({**folder.about, **changes}))
    with pytest.raises(UserError, match=said):
        RunFolder.open(folder.path)


def test_records_of_another_shape_are_named(tmp_path):
    folder = RunFolder.create(tmp_path, "student", "a", {})
    folder.log(type="epoch", step=1, epoch=1, loss=float("nan"))
    with (folder.path / "log.jsonl").open("a") as file:
        file.write('{"type": "epoch", "st')  # cut short
    assert folder.records() == [{"type": "epoch", "step": 1, "epoch": 1, "loss": None}]
    folder.log()
    with (folder.path / "log.jsonl").open("a") as file:
        file.write('{"step": "one"}\n')
    with pytest.raises(UserError, match=r"line 3 of .*log\.jsonl is not to be believed: step should be a valid int"):
        folder.records()


def test_no_more_than_three_problems_are_told():
    with pytest.raises(UserError, match=r"And \d+ more\. Mend it\."):
        schemas.check(schemas.RESULTS["cost"], {}, "x", "Mend it.")
