"""The exception that a user is meant to read, and what belongs into it: near names, and words of others."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that its reader can mend: what was wrong, where, what was given, what is allowed, what to do next.

    The command line prints the message without a traceback and leaves with exit code 2.
    """


class RankLostError(Exception):
    """Another process of a training on several devices has ended. Why, it has said itself."""


def unknown(kind: str, given: str, allowed: Iterable[str], advice: str = "", *, listed: bool = True) -> UserError:
    """The answer to a name that is not in a table: the near names first, then all of them.

    Args:
        kind: what the name should have named, in the singular ("model", "field of Train").
        given: the name as it was given.
        allowed: every name that would have been right.
        advice: one more sentence, for what to do if none of these names fits.
        listed: whether all names are listed; not where there are too many to be read.

    Returns:
        The error, to be raised by the caller.
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
    listing = f" Known: {', '.join(names)}." if names and listed else ""
    return UserError(f"unknown {kind} {given!r}.{hint}{listing}{' ' + advice if advice else ''}")


def first_line(error: BaseException) -> str:
    """The first line of what another exception says; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
