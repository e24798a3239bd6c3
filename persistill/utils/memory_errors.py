"""Errors that mean that memory has run out."""

_WORDS = ("can't allocate memory", "not enough memory", "out of memory", "bad allocation")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the memory of the machine or of its GPU does not suffice; torch has no one type."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)
