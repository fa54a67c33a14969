"""Every error the package raises on purpose.

::

    TomoserviceError
    ├── InputError              a scan cannot be read or is not usable as it is
    │   ├── UnknownFormatError  no source recognises the file
    │   └── MissingDataError    something the recipe needs is not in the scan
    │       └── NoSuchRunError  the scan itself is not in Tiled
    ├── GeometryError           angles, axis or shapes that make no tomogram
    ├── RecipeError             a recipe that is wrong in itself
    │   └── RecipeVersionError  written by a newer version of the package
    ├── RulesError              rules of what is reconstructed that are wrong in themselves
    ├── EngineError             a reconstruction backend cannot do what is asked
    │   ├── MemoryBudgetError   the smallest possible slab exceeds the memory budget
    │   ├── DeviceError         the device that is asked for cannot be used
    │   └── WorkersDiedError    one worker after the other died with the same task in hand
    ├── SettingsError           a setting that is unknown or has a wrong value
    ├── OutputError             a result cannot be written
    │   └── OtherSlabsError     the slabs that exist belong to another volume
    ├── CatalogError            Tiled refuses, or holds something unexpected
    │   ├── IllegalTransitionError  a state that may not follow the present one
    │   └── ClaimLostError      somebody else works on the reconstruction now
    ├── ServiceUnavailableError nobody answers at the service's address
    │   ├── FaultError          the service answers, with an error of its own
    │   └── WorkersLostError    nobody computes, or whoever did is gone with what they did
    ├── BeamlineError           an EPICS device that does not answer or do what it should
    └── CancelledError          the user asked to stop

A message names the offending value, where it stands, and the way out.
"""

from __future__ import annotations

from typing import Any


class TomoserviceError(Exception):
    """Base of every error that tomoservice raises on purpose; can be sent to other processes."""

    def __reduce__(self) -> tuple[Any, ...]:
        # By default an exception is made again from its message, which is not what every `__init__` takes.
        return _rebuilt, (type(self), self.args), self.__dict__


class InputError(TomoserviceError):
    """A scan cannot be read, or is not usable as it is.

    Parameters
    ----------
    where
        File, directory or Tiled node.
    cause
        What is wrong, with the offending value.
    dataset
        Data set inside `where`, if the error concerns one.
    hint
        What to do about it.
    """

    def __init__(self, where: object, cause: str, *, dataset: str | None = None, hint: str = "") -> None:
        self.where = str(where)
        self.cause = cause
        self.dataset = dataset
        self.hint = hint
        place = f"{self.where}: {dataset}" if dataset else self.where
        super().__init__(f"{place}: {cause}" + (f". {hint}" if hint else ""))


class UnknownFormatError(InputError):
    """No source recognises the file."""


class MissingDataError(InputError):
    """Something that the recipe needs is not in the scan."""


class NoSuchRunError(MissingDataError):
    """There is no such raw run in Tiled, or none that may be seen."""


class GeometryError(TomoserviceError):
    """Angles, rotation axis or array shapes that make no tomogram."""


class RecipeError(TomoserviceError):
    """A recipe that is wrong in itself.

    Parameters
    ----------
    problems
        One line per problem: field, what it got, what it wants.
    name
        File or name of the recipe.
    """

    def __init__(self, problems: str | list[str], *, name: str = "recipe") -> None:
        self.name = name
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__(f"{name}: " + "; ".join(self.problems))


class RecipeVersionError(RecipeError):
    """The recipe was written by a newer version of the package."""


class RulesError(TomoserviceError):
    """Rules of what is reconstructed that are wrong in themselves.

    Parameters
    ----------
    problems
        One line per problem: line, field, what it got, what it wants.
    name
        File of the rules.
    """

    def __init__(self, problems: str | list[str], *, name: str = "rules") -> None:
        self.name = name
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        first, *more = self.problems
        super().__init__(f"{name}: {first}" if not more else "\n  ".join([f"{name}:", first, *more]))


class EngineError(TomoserviceError):
    """A reconstruction backend cannot do what is asked."""


class MemoryBudgetError(EngineError):
    """The smallest possible slab exceeds the memory budget."""


class DeviceError(EngineError):
    """The device that is asked for cannot be used."""


class WorkersDiedError(EngineError):
    """One worker process after the other died with the same task in hand, which need not be why they died."""


class SettingsError(TomoserviceError):
    """A setting that is unknown or has a wrong value."""


class OutputError(TomoserviceError):
    """A result cannot be written."""


class OtherSlabsError(OutputError):
    """The slabs in a store belong to something else: another recipe, scan or version of the engine."""


class CatalogError(TomoserviceError):
    """Tiled refuses a request, or holds something unexpected."""


class IllegalTransitionError(CatalogError):
    """A reconstruction's state may not follow its present one."""


class ClaimLostError(CatalogError):
    """Somebody else works on the reconstruction now; this worker must stop."""


class ServiceUnavailableError(TomoserviceError):
    """Nobody answers at the service's address."""


class FaultError(ServiceUnavailableError):
    """The service answers, but with an error of its own: trying again need not help."""


class WorkersLostError(ServiceUnavailableError):
    """Nobody computes at present, or whoever did is gone with what they did."""


class BeamlineError(TomoserviceError):
    """An EPICS device does not answer, or does not do what it should."""


class CancelledError(TomoserviceError):
    """The user asked to stop."""


def _rebuilt(kind: type[TomoserviceError], arguments: tuple[Any, ...]) -> TomoserviceError:
    error = kind.__new__(kind)
    error.args = arguments
    return error
