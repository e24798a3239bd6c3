"""In which formats a recipe exports its student."""

from persistill.autoconfig import Options, as_command
from persistill.config import Arm, Data, Model, Quantize, Recipe
from persistill.pipeline.validate import problems

RECIPE = Recipe(name="a", data=Data(source="digits"), student=Model(name="resnet-8"), arms={"alone": Arm()})


def test_formats_are_checked_before_any_training():
    assert problems(RECIPE.with_value("formats", "onnx,int8")) == []
    (unknown,) = problems(RECIPE.with_value("formats", ("onxx",)))
    assert unknown.startswith("formats: unknown format 'onxx'. Did you mean 'onnx'?")
    (without,) = problems(RECIPE.model_copy(update={"formats": ("onnx",), "quantize": Quantize()}))
    assert without == "quantize trains for the int8 file, which formats=('onnx',) leaves out: name it, too."


def test_keys_of_recipes_that_name_no_formats_are_as_before():
    assert "formats" not in RECIPE.to_json()
    assert RECIPE.with_value("formats", ("onnx",)).to_json()["formats"] == ["onnx"]


def test_the_command_names_them(tmp_path):
    options = Options(data="digits", teacher="resnet-20", student="resnet-8", formats=("onnx", "int8"))
    assert "--formats onnx,int8" in as_command(options, {}, str(tmp_path))
