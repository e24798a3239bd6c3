"""Close matches out of long lists of names."""

import difflib
from collections.abc import Iterable

from persistill.errors import UserError


def close_match_error(kind: str, given: str, allowed: Iterable[str], advice: str) -> UserError:
    """The error for a name that is not in a long list: close matches, not all names.

    Args:
        kind: what the name should have named, in the singular.
        given: the name as it was given.
        allowed: every name that would have been right.
        advice: one sentence on how to find the others.

    Returns:
        The error, to be raised by the caller.
    """
    near = difflib.get_close_matches(given, list(allowed), n=5, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
    return UserError(f"unknown {kind} {given!r}.{hint} {advice}")
