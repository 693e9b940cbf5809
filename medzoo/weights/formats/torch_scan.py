"""A look at a whole pickle before any of it is carried out: what it asks for, and what it would cost."""

from __future__ import annotations

import io
import pickletools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from medzoo.errors import WeightsError
from medzoo.weights.formats.torch_names import look_up

#: The largest pickle read, in bytes; tensors lie outside of it, and a thousand of them need about 200 kB.
LARGEST_PICKLE = 2**26

#: The most opcodes of a pickle; 3,000 parameters with Adam's state need about 600,000.
MOST_STEPS = 3 * 10**6

#: The most bytes of memory that a pickle's objects may take beyond its own size, as estimated below.
MOST_MADE = 2**27

#: The most members of all tuples, counted again for each tuple around them and wherever one is shared. A few bytes can
#: stand for 2**60 of them, whose hash would never end; and CPython hashes nested ones on the C stack without a guard:
#: this many are reached when 4,500 are nested, which it can bear.
MOST_MEMBERS = 10**7

#: What `torch.save` and Python's pickler write from protocol 2 on; none of it can run or fetch anything by itself.
_OPCODES = frozenset(
    {
        "PROTO",
        "FRAME",
        "STOP",
        "MARK",
        "POP",
        "POP_MARK",
        "MEMOIZE",
        "BINPUT",
        "LONG_BINPUT",
        "BINGET",
        "LONG_BINGET",
        "NONE",
        "NEWTRUE",
        "NEWFALSE",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "LONG4",
        "BINFLOAT",
        "BINSTRING",
        "SHORT_BINSTRING",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
        "EMPTY_LIST",
        "APPEND",
        "APPENDS",
        "EMPTY_TUPLE",
        "TUPLE",
        "TUPLE1",
        "TUPLE2",
        "TUPLE3",
        "EMPTY_DICT",
        "SETITEM",
        "SETITEMS",
        "EMPTY_SET",
        "ADDITEMS",
        "FROZENSET",
        "GLOBAL",
        "STACK_GLOBAL",
        "REDUCE",
        "NEWOBJ",
        "NEWOBJ_EX",
        "BUILD",
        "BINPERSID",
    }
)

REMEDY = 'torch.save(model.state_dict(), "weights.pt") where it was made'


def refuse_name(where: str, name: str, place: str) -> WeightsError:
    """Say which name a pickle asks for."""
    shown = name[:100].encode("ascii", "backslashreplace").decode()
    return WeightsError(
        f"{where} asks for {shown}{place}, which no weights file needs",
        "tensors in dictionaries",
        REMEDY,
    )


#: About how many bytes opcodes take for what they make, beside what it holds; a call may make a dictionary.
_COSTS = {
    "EMPTY_SET": 216,
    "EMPTY_DICT": 64,
    "EMPTY_LIST": 56,
    "FROZENSET": 216,
    "REDUCE": 240,
    "NEWOBJ": 160,
    "NEWOBJ_EX": 160,
    "BUILD": 64,
    "BINPERSID": 240,
    "BINPUT": 64,
    "LONG_BINPUT": 64,
    "MEMOIZE": 64,
}

#: What any other opcode takes: a place on the stack; and what each item takes in a list, a set or a dictionary.
_COST = 8
_ITEM_COST = 100

#: Opcodes that put more into the object below, and leave it on the stack.
_FILLING = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"})


@dataclass
class _Bounded:
    """A stream for `pickletools`, which asks for as many bytes as a pickle claims to hold."""

    stream: IO[bytes]
    end: int = field(init=False)

    def __post_init__(self) -> None:
        """Find where the file, or the largest pickle, ends."""
        start = self.stream.tell()
        self.end = min(self.stream.seek(0, io.SEEK_END), start + LARGEST_PICKLE)
        self.stream.seek(start)
        self.tell = self.stream.tell

    def read(self, count: int = -1) -> bytes:
        """Read some bytes that are there."""
        if count > self.end - self.stream.tell():
            raise ValueError("it ends early")
        return self.stream.read(count)

    def readline(self) -> bytes:
        """Read a line, of a name for one."""
        return self.stream.readline(1000)


@dataclass(eq=False, slots=True)
class _Entry:
    """What is known of an object while scanning, shared between the stack and what is remembered.

    `members` is how many its tuples have, which a hash visits; `held` is about how many bytes a copy of its content
    would take; `text` is its text if it is one; `parts` are what it holds if it is a tuple.
    """

    members: int = 1
    held: int = 0
    text: str | None = None
    parts: tuple[_Entry, ...] = ()


#: Objects that hold nothing, and never will; the function that makes tuples; and a mark.
_PLAIN = _Entry()
_MAKES_TUPLES = _Entry()
_MARK = _Entry()


def scan(stream: IO[bytes], where: str) -> int:
    """Follow a pickle without making any of its objects; give the place behind it.

    Raises:
        WeightsError: an opcode or a name that no weights file needs.
        ValueError: it is damaged, or would cost far more memory or time than its size.
    """
    bounded = _Bounded(stream)
    stack: list[_Entry] = []
    memo: dict[int, _Entry] = {}
    members = made = 0
    start = stream.tell()
    arg: Any  # as the opcode has it: a number, a text, bytes or nothing
    opcodes = pickletools.genops(bounded)  # type: ignore[arg-type]  # all it calls is there
    for step, (opcode, arg, place) in enumerate(opcodes):
        if opcode.name not in _OPCODES or place is None:
            raise WeightsError(
                f"{where} holds {opcode.name} at byte {place}, which no weights file needs",
                "tensors in dictionaries",
                REMEDY,
            )
        removed = list(_pop(stack, opcode))
        made += _COSTS.get(opcode.name, _COST)
        if opcode.name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            index = len(memo) if opcode.name == "MEMOIZE" else arg
            pushed = removed[0] if removed else stack[-1]
            # Python makes room for all indices below; as each remembered object takes bytes, so many are absurd.
            if index > place - start:
                raise ValueError(f"memo index {index} at byte {place}")
            memo[index] = pushed
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            pushed = memo[arg]
            members += pushed.members
        elif opcode.name in ("GLOBAL", "STACK_GLOBAL"):
            named = arg.split(" ", 1) if opcode.name == "GLOBAL" else (removed[0].text, removed[1].text)
            module, name = named
            pushed = _MAKES_TUPLES if (module, name) == ("torch", "Size") else _PLAIN
            if module is None or name is None or look_up(module, name) is None:
                raise refuse_name(where, f"{module}.{name}", f" at byte {place}")
        else:
            if opcode.name == "FRAME" and arg > bounded.end - stream.tell():
                raise ValueError("it ends early")
            pushed, cost = _follow(opcode.name, arg, removed)
            made += cost
            if opcode.name.startswith("TUPLE"):
                members += pushed.members
        if members > MOST_MEMBERS:
            raise ValueError(f"tuples nested without end at byte {place}")
        if made > MOST_MADE + place - start:
            raise ValueError(f"what it makes would take more memory than it is worth at byte {place}")
        if step >= MOST_STEPS:
            raise ValueError(f"it takes more than {MOST_STEPS:,} steps")
        for kind in opcode.stack_after:
            stack.append(_MARK if kind is pickletools.markobject else pushed)
    return stream.tell()


def _follow(name: str, arg: Any, removed: list[_Entry]) -> tuple[_Entry, int]:
    """Give what an opcode pushes, made of what it removed, and about how many bytes it takes."""
    if name.startswith("EMPTY"):
        return _Entry(), 0
    if name.startswith("TUPLE") or name == "FROZENSET":
        held = _ITEM_COST * len(removed) + sum(item.members for item in removed)
        members = 1 + sum(item.members for item in removed)
        return _Entry(members, held, None, tuple(removed)), 48 + (64 if name == "FROZENSET" else 8) * len(
            removed
        )
    if name in _FILLING:
        target, items = removed[-1], removed[:-1]
        if name in ("APPEND", "SETITEM"):
            target, items = removed[0], removed[1:]
        # A pair's members are hashed where a dictionary is made of a list of pairs.
        grown = sum(_ITEM_COST + item.members for item in items)
        if target is not _PLAIN:
            target.held += grown
        return target, _ITEM_COST * len(items)
    if name == "REDUCE":  # our functions copy no more than what their arguments hold
        held = sum(part.held for part in removed[1].parts)
        return _Entry(1 + held if removed[0] is _MAKES_TUPLES else 1, held), held
    if name == "BUILD":
        target, state = removed
        return target, state.held + sum(part.held for part in state.parts)
    if name == "BINPERSID" and len(removed[0].parts) == 4:
        return removed[0].parts[1], 0  # a module's class, or what a file puts in its place
    if isinstance(arg, str | bytes | bytearray):
        size = sys.getsizeof(arg)
        return _Entry(1, size, arg if isinstance(arg, str) else None), size
    if isinstance(arg, int):  # hashing a number takes the longer the larger it is, each time
        return _Entry(1 + arg.bit_length() // 64) if abs(arg) >= 2**64 else _PLAIN, sys.getsizeof(arg)
    return _PLAIN, 0


def _pop(stack: list[_Entry], opcode: pickletools.OpcodeInfo) -> Iterator[_Entry]:
    """Take what an opcode takes from the stack, back to the mark where it takes all up to there."""
    before = opcode.stack_before
    count = len(before)
    if pickletools.markobject in before:
        count = before.index(pickletools.markobject)
        mark = next(place for place in range(len(stack) - 1, -2, -1) if place < 0 or stack[place] is _MARK)
        if mark < 0:
            raise ValueError("a mark is missing")
        yield from stack[mark + 1 :]
        del stack[mark:]
    if count > len(stack):
        raise ValueError("its stack is empty")
    if count:
        yield from stack[-count:]
        del stack[-count:]
