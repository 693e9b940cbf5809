"""A look at a whole pickle before any of it is carried out: what it asks for, and what it would cost."""

from __future__ import annotations

import io
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from medzoo.errors import WeightsError
from medzoo.weights.formats.torch_names import look_up

#: The largest pickle read, in bytes; tensors lie outside of it, and a thousand of them need about 200 kB.
LARGEST_PICKLE = 2**28

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


#: A stack's entry while scanning: how many members its tuples have, and its text if it is one.
_Entry = tuple[int, str | None]

_PLAIN: _Entry = (1, None)
_MARK: _Entry = (0, None)


def scan(stream: IO[bytes], where: str) -> int:
    """Follow a pickle without making any of its objects; give the place behind it.

    Raises:
        WeightsError: an opcode or a name that no weights file needs.
        ValueError: it is damaged, or would cost far more memory or time than its size.
    """
    bounded = _Bounded(stream)
    stack: list[_Entry] = []
    memo: dict[int, _Entry] = {}
    members = 0
    start = stream.tell()
    arg: Any  # as the opcode has it: a number, a text, bytes or nothing
    for opcode, arg, place in pickletools.genops(bounded):  # type: ignore[arg-type]  # all it calls is there
        if opcode.name not in _OPCODES or place is None:
            raise WeightsError(
                f"{where} holds {opcode.name} at byte {place}, which no weights file needs",
                "tensors in dictionaries",
                REMEDY,
            )
        removed = list(_pop(stack, opcode))
        pushed = _PLAIN
        if opcode.name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            index = len(memo) if opcode.name == "MEMOIZE" else arg
            pushed = removed[0] if removed else stack[-1]
            # Python makes room for all indices below; as each remembered object takes bytes, so many are absurd.
            if index > place - start:
                raise ValueError(f"memo index {index} at byte {place}")
            memo[index] = pushed
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            pushed = memo[arg]
            members += pushed[0]
        elif opcode.name.startswith("TUPLE"):
            pushed = (1 + sum(item[0] for item in removed), None)
            members += pushed[0]
        elif opcode.name in ("GLOBAL", "STACK_GLOBAL"):
            module, name = arg.split(" ", 1) if opcode.name == "GLOBAL" else (removed[0][1], removed[1][1])
            if module is None or name is None or look_up(module, name) is None:
                raise refuse_name(where, f"{module}.{name}", f" at byte {place}")
        elif opcode.name == "FRAME" and arg > bounded.end - stream.tell():
            raise ValueError("it ends early")
        elif "UNICODE" in opcode.name or "STRING" in opcode.name:
            pushed = (1, arg)
        if members > MOST_MEMBERS:
            raise ValueError(f"tuples nested without end at byte {place}")
        for kind in opcode.stack_after:
            stack.append(_MARK if kind is pickletools.markobject else pushed)
    return stream.tell()


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
