"""Processors: whoever moves the money. The sandbox is built in; everything else is found by name.

A processor is a factory (`ports.ProcessorFactory`) that an installed package names in its metadata, as an entry point
of the group `generic_connector.processors`. Nothing of ours is imported by name but the sandbox, which is always the
one that is part of this package: it works from a checkout without metadata, and no other package can take its name.

Where two packages bring one name, neither is taken. Which of two processors moves the money is not to be left to the
order of a directory listing.
"""

from importlib.metadata import EntryPoint, entry_points

from generic_connector.ports import ProcessorFactory

GROUP = "generic_connector.processors"
BUILT_IN = EntryPoint("sandbox", "generic_connector.processors.sandbox:create", GROUP)


class UnknownProcessorError(Exception):
    """There is no such processor, or it cannot be loaded. Says what is installed and what to do next."""


def installed() -> tuple[str, ...]:
    """Return the names of all processors that can be named, in order."""
    return tuple(sorted({BUILT_IN.name} | {entry_point.name for entry_point in entry_points(group=GROUP)}))


def find_processor(name_or_entry_point: str) -> ProcessorFactory:
    """Return the factory of a processor: by its entry point's name (`acme`), or straight (`acme_pay.processor:create`).

    Raises `UnknownProcessorError`.
    """
    entry_point = _find(name_or_entry_point)
    try:
        factory = entry_point.load()
    except (ImportError, AttributeError) as error:
        raise UnknownProcessorError(
            f"The processor {entry_point.name} is {entry_point.value}, which cannot be loaded ({type(error).__name__}: "
            f"{error}). Install its package and what it needs into this environment, or correct that name."
        ) from error
    if not callable(factory):
        raise UnknownProcessorError(
            f"The processor {entry_point.name} is {entry_point.value}, which is no factory. "
            "Name a function that takes a ProcessorContext and returns the processor."
        )
    # What it returns cannot be told from here; the contract suite is what an author proves it with.
    return factory  # type: ignore[no-any-return]


def _find(name: str) -> EntryPoint:
    if name == BUILT_IN.name:
        return BUILT_IN
    if ":" in name:
        return EntryPoint(name, name, GROUP)
    found = {entry_point.value: entry_point for entry_point in entry_points(group=GROUP, name=name)}
    if len(found) == 1:
        return found.popitem()[1]
    if found:
        raise UnknownProcessorError(
            f"More than one package brings a processor called {name}: {', '.join(sorted(found))}. "
            "Remove all but one of them, or write the right one into `use` as it stands here."
        )
    raise UnknownProcessorError(
        f"No processor is called {name}. Installed: {', '.join(installed())}. Correct `use` in config.toml, or install "
        f"the package that brings {name} into this environment (it declares an entry point of the group {GROUP})."
    )
