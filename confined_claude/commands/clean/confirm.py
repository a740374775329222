"""The dialogue with the person who cleans: the list, the questions and the result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol

from ... import console, signals
from ...errors import ConfinedError, EngineError
from ...fs.removal import Leftover
from ...fs.usage import Size, in_words
from ...text import escape
from .plan import Item, Plan, sizes_of

NOTHING = "Nothing was deleted."


class Options(NamedTuple):
    """``everything`` includes the memory, ``dry_run`` only lists, ``sure`` asks nothing."""

    everything: bool = False
    dry_run: bool = False
    sure: bool = False


class Cleanup(Protocol):
    """What can be cleaned. All methods raise ConfinedError."""

    def refuse_while_used(self) -> None:
        """Raise ConfinedError if a session may be using it."""

    def plan(self, *, everything: bool) -> Plan:
        """Return what there is to delete, with the memory if ``everything`` is wanted. Change nothing."""

    def delete(self, *, memory: bool) -> Leftover:
        """Delete the data, and the memory if that is wanted; return what could not be deleted.

        Raises ConfinedError if a session may be using it by now.
        """


def _refuse_without_answer(options: Options) -> None:
    """Raise ConfinedError if there is a question to ask and nobody to answer."""
    if not (options.dry_run or options.sure or signals.is_interactive()):
        raise ConfinedError(
            f"{NOTHING} There is no terminal to ask on.",
            "Add --yes to delete without being asked, or --dry-run to see what there is.",
        )


def refuse_while_running(
    running: Callable[[], list[str]], *, on_record: bool, is_alive: bool, hint: str, nothing: str = NOTHING
) -> None:
    """Raise ConfinedError if a session may be running: by what ``running`` returns, or cannot say, and by the records.

    ``is_alive`` says whether a process owns one of the sessions ``on_record``; ``hint`` may contain a ``{name}``.
    ``nothing`` says that nothing was done.
    """
    try:
        names = running()
    except EngineError as error:
        if not on_record:
            return
        raise EngineError(
            f"{nothing} A session may still run: {error.message}", "Start the engine, and try again."
        ) from None
    if names:
        raise ConfinedError(f"{nothing} Still running: {', '.join(names)}.", hint.format(name=names[0]))
    if is_alive:
        raise ConfinedError(f"{nothing} A session is starting or ending.", "Wait for it, and try again.")


def carry_out(cleanup: Cleanup, options: Options, nothing: str = "There is nothing to clean.") -> None:
    """List what there is, ask about it, and delete what is confirmed. Print ``nothing`` if that is what there is.

    Raises ConfinedError for what could not be deleted.
    """
    plan = cleanup.plan(everything=options.everything)
    if plan.data or plan.memory:
        _refuse_without_answer(options)
        if not options.dry_run:
            cleanup.refuse_while_used()
    for note in plan.notes:
        console.say(escape(note))
    if not (plan.data or plan.memory):
        print(nothing)
        return
    sizes = sizes_of((*plan.data, *plan.memory))
    data_sizes, memory_sizes = sizes[: len(plan.data)], sizes[len(plan.data) :]
    if plan.data:
        _show(plan.title, plan.data, data_sizes)
        if not (options.dry_run or _is_confirmed("Delete this?", options)):
            print(NOTHING)
            return
    with_memory = False
    if plan.memory:
        _show(plan.memory_title, plan.memory, memory_sizes, plan.losses)
        with_memory = not options.dry_run and _is_confirmed("Delete this too? It cannot be restored.", options)
    if options.dry_run:
        return
    if not (plan.data or with_memory):
        print(NOTHING)
        return
    _report(cleanup.delete(memory=with_memory))
    print(f"Deleted {in_words(sum([*data_sizes, *(memory_sizes if with_memory else ())], Size()))}.")
    if plan.memory and not with_memory:
        print("The rest is kept.")


def _is_confirmed(question: str, options: Options) -> bool:
    return options.sure or console.confirmed(question)


def _show(title: str, items: Sequence[Item], sizes: Sequence[Size], more: Iterable[str] = ()) -> None:
    console.show(escape(f"{title}:"))
    column = [in_words(size) for size in sizes]
    width = max(map(len, column))
    for item, size in zip(items, column, strict=True):
        console.show(escape(f"  {size:>{width}}  {item.text}"))
    for line in more:
        console.show(escape(f"  {line}"))


def _report(leftover: Leftover) -> None:
    """Raise ConfinedError if anything could not be deleted."""
    if leftover.number:
        more = f", and {leftover.number - 1} more" if leftover.number > 1 else ""
        raise ConfinedError(
            f"Not everything could be deleted: {escape(leftover.first)}{more}: {leftover.reason}.",
            "Everything else is deleted. Correct that, and try again.",
        )
