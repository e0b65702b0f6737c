"""A pickle interpreter that builds plain data and runs no code from the file.

A pickle is a program for a stack machine. Python's own loader lets it import and call anything.
This interpreter looks up every global in a table of trusted builders, and calls only those. The
number of opcodes, the size of integers, the types of dict keys and the copied bytes are limited.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from stylemix.io.files import damaged
from stylemix.safe_pickle.limits import DAMAGE_ERRORS, MAX_INT_BYTES, Context, refusal_of

MAX_COPIED_BYTES = 4096  # longer byte strings stay views of the file, so weights are not copied

Buffer = bytes | memoryview


@dataclass(frozen=True)
class Trusted:
    """A global that a pickle may use, with the builder that replaces calling it."""

    name: str
    build: Callable[[tuple[object, ...], Context], object] | None = None
    value: object = None  # the value of a global that is never called, such as a dtype


class Settable:
    """An incomplete object whose state is set by the BUILD opcode."""

    final: object = None

    def set_state(self, state: object, context: Context) -> object:
        """Returns the complete object with this state; StylemixError for an unknown format."""
        raise NotImplementedError


class _Mark:
    """The marker that opens a group of items on the stack."""


_MARK = _Mark()
_SIMPLE: dict[int, Callable[[], object]] = {
    ord("N"): lambda: None,
    0x88: lambda: True,
    0x89: lambda: False,
    ord("]"): list,
    ord("}"): dict,
    ord(")"): tuple,
    0x8F: set,
}
_NUMBERS = {ord("J"): "<i", ord("K"): "<B", ord("M"): "<H", ord("G"): ">d"}
_LENGTHS = {  # opcode: (format of the length, type of the content)
    ord("U"): ("<B", "latin1"),
    ord("T"): ("<I", "latin1"),
    ord("X"): ("<I", "utf-8"),
    0x8C: ("<B", "utf-8"),
    0x8D: ("<Q", "utf-8"),
    ord("C"): ("<B", "bytes"),
    ord("B"): ("<I", "bytes"),
    0x8E: ("<Q", "bytes"),
    0x96: ("<Q", "bytes"),  # a bytearray, returned as bytes
    0x8A: ("<B", "int"),
    0x8B: ("<I", "int"),
}
_PUTS = {ord("q"): "<B", ord("r"): "<I"}
_GETS = {ord("h"): "<B", ord("j"): "<I"}
_TUPLES = {0x85: 1, 0x86: 2, 0x87: 3}
_FROM_LINE = frozenset(b"IFLSV")
_KEYS = (str, int, bytes, type(None))
_MAX_INT_KEY = 2**32  # larger keys can be chosen to collide, which makes a dict arbitrarily slow
_FOREIGN = {
    0x82: "a registered extension",
    0x83: "a registered extension",
    0x84: "a registered extension",
    0x97: "a buffer stored outside the file",
    0x98: "a buffer stored outside the file",
    ord("P"): "an object stored outside the file",
}


class PickleMachine:
    """Interpret one pickle that starts at `position` of `data`."""

    def __init__(
        self,
        data: memoryview,
        context: Context,
        table: Mapping[tuple[str, str], Trusted],
        position: int = 0,
        persistent: Callable[[object], object] | None = None,
    ) -> None:
        self.data = data
        self.position = position
        self.context = context
        self._table = table
        self._persistent = persistent
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}
        self._actions: dict[int, Callable[[], None]] = {
            ord("("): lambda: self._stack.append(_MARK),
            ord("0"): lambda: self._drop(),
            ord("1"): lambda: self._discard_group(),
            ord("2"): lambda: self._stack.append(self._stack[-1]),
            ord("."): lambda: None,
            0x80: lambda: self._protocol(),
            0x94: lambda: self._memo.__setitem__(len(self._memo), self._stack[-1]),
            0x95: lambda: self._frame(),
            ord("g"): lambda: self._recall(int(self._line())),
            ord("p"): lambda: self._memo.__setitem__(int(self._line()), self._stack[-1]),
            ord("a"): lambda: self._append([self._stack.pop()]),
            ord("e"): lambda: self._append(self._group()),
            ord("s"): lambda: self._set_items([self._stack.pop(-2), self._stack.pop()]),
            ord("u"): lambda: self._set_items(self._group()),
            0x90: lambda: self._add_items(self._group()),
            ord("l"): lambda: self._stack.append(self._group()),
            ord("t"): lambda: self._stack.append(tuple(self._group())),
            ord("d"): lambda: self._new_dict(self._group()),
            0x91: lambda: self._stack.append(frozenset(self._keys(self._group()))),
            ord("c"): lambda: self._find(self._text_line(), self._text_line()),
            0x93: lambda: self._find(*self._two_names()),
            ord("R"): lambda: self._call(self._stack.pop()),
            0x81: lambda: self._call(self._stack.pop()),
            0x92: lambda: self._call_with_keywords(),
            ord("i"): lambda: self._instance(),
            ord("o"): lambda: self._object(self._group()),
            ord("b"): lambda: self._build(self._stack.pop()),
            ord("Q"): lambda: self._stack.append(self._load_persistent(self._stack.pop())),
        }

    def run(self) -> object:
        """Interprets the opcodes up to STOP and returns the object.

        `position` is then just after STOP. Raises StylemixError for a damaged pickle and for
        anything that is not allowed.
        """
        try:
            while self._next_opcode() != ord("."):
                pass
            (result,) = self._stack
        except DAMAGE_ERRORS as error:
            raise damaged(self.context.name) from error
        finally:
            self._actions.clear()  # they refer to this machine, which would keep the file in memory
        return result

    def _next_opcode(self) -> int:
        opcode = self.data[self.position]
        self.position += 1
        self.context.count_opcode()
        self._step(opcode)
        return opcode

    def _step(self, opcode: int) -> None:
        if opcode in _SIMPLE:
            self._stack.append(_SIMPLE[opcode]())
        elif opcode in _NUMBERS:
            self._stack.append(self._number(_NUMBERS[opcode]))
        elif opcode in _LENGTHS:
            self._stack.append(self._counted(*_LENGTHS[opcode]))
        elif opcode in _PUTS:
            self._memo[int(self._number(_PUTS[opcode]))] = self._stack[-1]
        elif opcode in _GETS:
            self._recall(int(self._number(_GETS[opcode])))
        elif opcode in _TUPLES:
            count = _TUPLES[opcode]
            items = [self._stack.pop() for _ in range(count)]
            self._stack.append(tuple(reversed(items)))
        elif opcode in _FROM_LINE:
            self._stack.append(self._from_line(opcode))
        elif opcode in self._actions:
            self._actions[opcode]()
        elif opcode in _FOREIGN:
            self.context.refuse(f"it asks for {_FOREIGN[opcode]}")
        else:
            raise ValueError("unknown opcode")

    # Reading arguments.

    def _skip(self, count: int) -> memoryview:
        end = self.position + count
        if count < 0 or end > len(self.data):
            raise IndexError("past the end")
        view = self.data[self.position : end]
        self.position = end
        return view

    def _number(self, form: str) -> int | float:
        value: int | float = struct.unpack(form, self._skip(struct.calcsize(form)))[0]
        return value

    def _counted(self, form: str, kind: str) -> object:
        raw = self._skip(int(self._number(form)))
        if kind == "bytes":
            return raw if len(raw) > MAX_COPIED_BYTES else bytes(raw)
        if kind == "int":
            if len(raw) > MAX_INT_BYTES:
                self.context.refuse("it holds an integer that is too long")
            return int.from_bytes(raw, "little", signed=True)
        return str(raw, kind, "surrogatepass" if kind == "utf-8" else "strict")

    def _line(self) -> bytes:
        # In steps of copied bytes, since a memoryview has no `find`.
        start, step = self.position, 256
        while True:
            piece = bytes(self.data[self.position : self.position + step])
            if not piece:
                raise IndexError("past the end")
            end = piece.find(b"\n")
            if end >= 0:
                self.position += end + 1
                return bytes(self.data[start : self.position - 1])
            self.position += len(piece)

    def _text_line(self) -> str:
        return self._line().decode("utf-8")

    def _from_line(self, opcode: int) -> object:
        line = self._line()
        if opcode == ord("V"):
            return str(line, "raw-unicode-escape")
        if opcode == ord("F"):
            return float(line)
        if opcode == ord("S"):
            if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
                raise ValueError("a string without quotes")
            return codecs.escape_decode(line[1:-1])[0].decode("latin1")
        if line in (b"00", b"01") and opcode == ord("I"):  # booleans in protocol 0
            return line == b"01"
        if len(line) > 2 * MAX_INT_BYTES:
            self.context.refuse("it holds an integer that is too long")
        return int(line.rstrip(b"L"))

    def _recall(self, index: int) -> None:
        value = self._memo[index]
        if isinstance(value, Settable) and value.final is not None:
            value = value.final
        self._stack.append(value)

    def _frame(self) -> None:
        self._skip(8)  # the length of a frame is only a hint for reading ahead

    def _protocol(self) -> None:
        if self._number("<B") > 5:
            self.context.refuse("its pickle protocol is newer than 5")

    # Groups and containers.

    def _drop(self) -> None:
        self._stack.pop()

    def _discard_group(self) -> None:
        self._group()

    def _group(self) -> list[object]:
        """Pop all items above the last mark."""
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                items = self._stack[index + 1 :]
                del self._stack[index:]
                return items
        raise IndexError("no mark")

    def _keys(self, items: list[object]) -> list[Hashable]:
        # Tuples are not allowed as keys: hashing nested tuples can take arbitrarily long.
        for item in items:
            small = not isinstance(item, int) or abs(item) <= _MAX_INT_KEY
            if not isinstance(item, _KEYS) or not small:
                self.context.refuse(f"it uses an unsupported {type(item).__name__} as a key")
        return items

    def _append(self, items: list[object]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise TypeError("items for an object that is not a list")
        target.extend(items)

    def _add_items(self, items: list[object]) -> None:
        target = self._stack[-1]
        if not isinstance(target, set):
            raise TypeError("members for an object that is not a set")
        target.update(self._keys(items))

    def _set_items(self, items: list[object]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise TypeError("entries for an object that is not a dict")
        target.update(zip(self._keys(items[::2]), items[1::2], strict=True))

    def _new_dict(self, items: list[object]) -> None:
        self._stack.append({})
        self._set_items(items)

    # Globals and calls: only those in the table.

    def _two_names(self) -> tuple[str, str]:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise TypeError("a name that is not text")
        return module, name

    def _find(self, module: str, name: str) -> None:
        trusted = self._table.get((module, name))
        if trusted is None:
            self.context.refuse(refusal_of(module, name))
        self._stack.append(trusted if trusted.build else trusted.value)

    def _call(self, arguments: object) -> None:
        trusted = self._stack.pop()
        if not isinstance(trusted, Trusted) or trusted.build is None:
            self.context.refuse(f"it calls a {type(trusted).__name__}")
        if not isinstance(arguments, tuple):
            raise TypeError("arguments that are not a tuple")
        self._stack.append(trusted.build(arguments, self.context))

    def _call_with_keywords(self) -> None:
        keywords = self._stack.pop()
        if not isinstance(keywords, dict) or keywords:
            self.context.refuse("it makes an object with keyword arguments")
        self._call(self._stack.pop())

    def _instance(self) -> None:
        module, name = self._text_line(), self._text_line()
        arguments = tuple(self._group())
        self._find(module, name)
        self._call(arguments)

    def _object(self, items: list[object]) -> None:
        self._stack.append(items[0])
        self._call(tuple(items[1:]))

    def _build(self, state: object) -> None:
        target = self._stack[-1]
        if isinstance(target, Settable):
            target.final = self._stack[-1] = target.set_state(state, self.context)
        elif not isinstance(target, dict):
            # Attributes on a dict (the `_metadata` of a state_dict) are ignored.
            self.context.refuse(f"it sets the state of a {type(target).__name__}")

    def _load_persistent(self, key: object) -> object:
        if self._persistent is None:
            self.context.refuse("it asks for an object stored outside the file")
        return self._persistent(key)
