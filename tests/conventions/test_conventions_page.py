"""The page and its tests match: a sentence without a test is an error, and a test without a sentence."""

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "conventions.md"


def sections(text):
    """Title of a section -> its paragraphs."""
    parts = [part.strip().split("\n\n") for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]]
    return {title: paragraphs for title, *paragraphs in parts}


def sentence(paragraph):
    """The name of the sentence that a paragraph is."""
    found = re.fullmatch(r"[A-Z0-9`].*\.\n\{: #([a-z0-9-]+) \}", paragraph, re.DOTALL)
    assert found, f"not a sentence with a name: {paragraph}"
    return found[1]


def held(title):
    """The names of the tests in the file of a section, as the page writes them."""
    file = HERE / f"test_conventions_{title.lower().replace(' ', '_')}.py"
    functions = [node for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)]
    names = [function.name for function in functions]
    return [name.removeprefix("test_").replace("_", "-") for name in names if name.startswith("test_")]


SECTIONS = sections(PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("title", SECTIONS)
def test_sentences_and_tests_match_one_to_one(title):
    assert [sentence(paragraph) for paragraph in SECTIONS[title]] == held(title)


def test_every_file_has_its_section_and_every_sentence_a_name_of_its_own():
    files = {path.stem for path in HERE.glob("test_*.py")} - {"test_conventions_page"}
    assert files == {f"test_conventions_{title.lower().replace(' ', '_')}" for title in SECTIONS}
    names = [sentence(paragraph) for paragraphs in SECTIONS.values() for paragraph in paragraphs]
    assert len(names) == len(set(names)) > 30


def test_a_sentence_without_a_name_is_noticed():
    page = sections("# Page\n\nIntroduction.\n\n## Losses\n\nA sentence.\n{: #a }\n\nAnother.\n")
    assert [sentence(paragraph) for paragraph in page["Losses"][:1]] == ["a"]
    with pytest.raises(AssertionError, match=r"not a sentence with a name: Another\."):
        sentence(page["Losses"][1])
