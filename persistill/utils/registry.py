"""Things that settings name: the package's own by a short name, anybody's by "package.module:Name" or as they are."""

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from persistill.errors import UserError, unknown

Thing = TypeVar("Thing")


class Registry(Generic[Thing]):
    """What may be named where settings ask for one kind of thing.

    A setting holds one of these:

    * the name of one that comes with the package;
    * ``package.module:Name``, which is imported, and so runs: only what somebody typed into a recipe or a command may
      come here, never what was read from a run folder;
    * the object itself, as a recipe file defines it.

    Args:
        kind: what one of them is called in messages ("view", "optimizer").
        own: name -> those of the package, in the order in which messages list them. Where ``base`` is a class, they
            may be subclasses of it, of which one with default settings is made.
        base: the class of all of them; None for anything that can be called: a function, a class whose objects are
            what is called for, or an object with ``__call__``.
        contract: one sentence for messages: what one's own must look like.
    """

    def __init__(self, kind: str, own: Mapping[str, Any], *, contract: str, base: type[Thing] | None = None) -> None:
        self.kind = kind
        self._own = own
        self._base = base
        self._contract = contract

    def __iter__(self) -> Iterator[str]:
        return iter(self._own)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._own

    def find(self, given: object) -> Thing:
        """The thing that a setting names.

        Raises:
            UserError: if there is none of that name, its module cannot be imported, or it is of another kind.
        """
        if not isinstance(given, str):
            return self._checked(given, named(given))
        if given in self._own:
            return self._checked(self._own[given], given)
        if is_own_code(given):
            return self._checked(import_object(given, self.kind), given)
        raise unknown(f"{self.kind}:", given, self._own, f"Your own: package.module:Name. {self._contract}")

    def _checked(self, found: Any, name: str) -> Thing:
        if isinstance(found, type) and (
            _makes_callables(found) if self._base is None else issubclass(found, self._base)
        ):
            try:
                found = found()
            except TypeError as error:
                raise UserError(f"the {self.kind} {name} cannot be made without arguments ({error}).") from error
        fits = callable(found) if self._base is None else isinstance(found, self._base)
        if not fits:
            raise UserError(f"{name} is no {self.kind} but a {type(found).__name__}. {self._contract}")
        thing: Thing = found
        return thing


def _makes_callables(found: type) -> bool:
    """Whether it is the objects of a class that are called, and not the class itself, as torch's optimizers are."""
    return any("__call__" in vars(above) for above in found.__mro__)


def is_own_code(given: object) -> bool:
    """Whether a setting names code that does not come with the package: "package.module:Name", or an object."""
    if not isinstance(given, str):
        return given is not None
    place, colon, path = given.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*place.split("."), *path.split(".")))


def named(given: object) -> str:
    """What to call in messages and in files' names what a setting holds: a name as it is, an object by its own."""
    if isinstance(given, str):
        return given
    if isinstance(given, type) or inspect.isroutine(given):
        return given.__name__
    return type(given).__name__


def import_object(name: str, kind: str) -> Any:
    """Import what ``package.module:Name`` names.

    Args:
        name: the name.
        kind: what it should be, for messages.

    Raises:
        UserError: if there is no such module, importing it fails, or it has no such name.
    """
    place, _, path = name.partition(":")
    try:
        found: Any = importlib.import_module(place)
    except Exception as error:  # somebody else's code, which may raise anything
        if isinstance(error, ModuleNotFoundError) and f"{place}.".startswith(f"{error.name}."):
            raise UserError(
                f"there is no module {error.name!r} to import for the {kind} {name!r}. Install it, or let PYTHONPATH "
                "name the folder in which it lies."
            ) from error
        message = str(error).strip() or "without a message"
        raise UserError(
            f"importing {place!r} for the {kind} {name!r} raised {type(error).__name__}: {message}"
        ) from error
    for part in path.split("."):
        if not hasattr(found, part):
            public = [other for other, value in vars(found).items() if callable(value) and not other.startswith("_")]
            advice = f"Write {place}:NAME for a function or class in it."
            raise unknown(f"name in {place}:", part, public, advice, listed=False)
        found = getattr(found, part)
    return found


def parameters_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters of a function or class by their names; none of what is not written in Python and states none."""
    try:
        return inspect.signature(function).parameters
    except (ValueError, TypeError):
        return {}


def call_with_known(function: Callable[..., Any], *given: Any, **offered: Any) -> Any:
    """Call ``function`` with ``given``, and with those of ``offered`` that its signature names."""
    parameters = parameters_of(function)
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        offered = {name: value for name, value in offered.items() if name in parameters}
    return function(*given, **offered)
