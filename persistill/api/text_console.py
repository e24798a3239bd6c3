"""The one way to make a console: it prints text as it is."""

from typing import Any

from rich.console import Console


def text_console(**options: Any) -> Console:
    """A console that takes brackets for brackets.

    Names of files, classes and arms are a user's. As markup, "[examples]/mine.py" would be printed as "/mine.py", and
    "[/a]" would end the command. So no text is markup, in tables neither; what shall be bold is a ``rich.text.Text``.

    Args:
        options: as for ``rich.console.Console``.
    """
    return Console(markup=False, highlight=False, **options)
