"""PyTorch's files that are damaged or hostile: refused in one line, with little memory, nothing run."""

from __future__ import annotations

import pickle
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch_files import (
    ARRAYS,
    EITHER,
    ORDERED,
    Call,
    Name,
    Stored,
    W,
    check,
    dump,
    open_checkpoint,
    read_all,
    refuse,
    storage,
    tensor,
    tensors_of,
    write_archive,
    write_state,
    write_stream,
)

from medzoo.errors import WeightsError
from medzoo.weights.formats import torch_archive, torch_scan, torch_state

# --- what is refused -----------------------------------------------------------------------------------------


def write_either(path: Path, content: object, is_stream: bool) -> Path:
    return write_stream(path, content, {}) if is_stream else write_archive(path, content, [])


HOSTILE = [
    ("os", "system", ("touch boom",)),
    ("posix", "system", ("touch boom",)),
    ("builtins", "eval", ("open('boom', 'w')",)),
    ("__builtin__", "exec", ("open('boom', 'w')",)),
    ("builtins", "getattr", ("a", "__class__")),
    ("builtins", "open", ("boom", "w")),
    ("subprocess", "Popen", (["touch", "boom"],)),
    ("pickle", "loads", (pickle.dumps(1),)),
    ("torch.storage", "_load_from_bytes", (b"\x80\x02K\x01.",)),
    ("torch", "load", ("b.pt",)),
    ("torch.hub", "load_state_dict_from_url", ("http://127.0.0.1",)),
    ("numpy", "load", ("boom",)),
    ("functools", "partial", ()),
    ("medzoo.weights.formats.torch_names", "look_up", ("os", "system")),
]


@EITHER
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(("module", "name", "arguments"), HOSTILE, ids=[f"{m}.{n}" for m, n, _ in HOSTILE])
def test_a_name_outside_the_table_is_refused_with_its_place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    name: str,
    arguments: tuple[Any, ...],
    protocol: int,
    is_stream: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    content = dump({"a": Call(Name(module, name), arguments)}, protocol)
    place = content.index(b"\x93" if protocol == 4 else b"c" + module.encode())
    path = write_either(tmp_path / "a.pt", content, is_stream)
    if is_stream:
        place += path.read_bytes().index(content)
    where = "a.pt" if is_stream else "a.pt/weights/data.pkl"
    refuse(path, f"{where} asks for {module}.{name} at byte {place}, which no weights file needs")
    assert not (tmp_path / "boom").exists()


LINEAR = Name("torch.nn.modules.linear", "Linear")
REBUILD = Name("torch._utils", "_rebuild_tensor_v2")


@pytest.mark.parametrize(
    "content",
    [
        Call(LINEAR, (3, 4)),  # calling a placeholder's class
        Call(LINEAR, (3, 4), is_new=True),
        Call(Call(LINEAR, (), {"__call__": 1}, is_new=True)),
        Call(REBUILD, (1, 2)),
        Call(REBUILD, (1, 0, (1,), (1,), False, {})),
        Call(Name("torch._tensor", "_rebuild_from_type_v2"), (ORDERED, LINEAR, (), None)),
        Call(Name("torch._tensor", "_rebuild_from_type_v2"), (Name("_codecs", "encode"), 1, ("a", "hex"), 1)),
        Call(Name("_codecs", "encode"), ("a", "idna")),
        Call(Name("torch", "Size"), ((1, "a"),)),
        Stored("storage"),
        Stored(("file", "a", "b", "c", 1)),
        Stored(("storage", LINEAR, "0", "cpu", 1)),
        Stored(("storage", Name("torch", "FloatStorage"), 0, "cpu", 1)),
        Stored(("storage", Name("torch", "FloatStorage"), "0", "cpu", 2**70)),
        Stored(("storage", Name("torch", "FloatStorage"), "0", "cpu", -1)),
        [Stored(("storage", Name("torch", "FloatStorage"), "0", "cpu", count)) for count in (1, 2)],
    ],
)
def test_misuse_of_known_names_is_refused(tmp_path: Path, content: object) -> None:
    for is_stream in (False, True):
        refuse(write_either(tmp_path / "a.pt", {"a": content}, is_stream), "is damaged, or no weights file")


@pytest.mark.parametrize("function", [ORDERED, REBUILD, LINEAR, Name("torch", "FloatStorage")])
@pytest.mark.parametrize("state", [{"act": 1}, (None, {"act": 1}), (None, {"__setstate__": 1})])
def test_nothing_of_ours_can_be_changed_by_a_pickle(tmp_path: Path, function: Name, state: object) -> None:
    content = dump(function)[:-1] + dump(state)[2:-1] + pickle.BUILD + b"."
    refuse(write_archive(tmp_path / "a.pt", content, []), "is damaged, or no weights file")
    check(torch_archive.read_headers(write_state(tmp_path / "b.pt", W)), W)


def opcodes(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


#: Tuples that each hold the one before twice: 60 of them have 2**60 members, whose hash would never end.
DOUBLED = b")" + b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(45))

BOMBS = {
    "inst": (b"\x80\x02(ios\nsystem\n.", "holds INST at byte 3"),
    "obj": (opcodes(b"(K\x01o"), "holds OBJ at byte 5"),
    "extension": (opcodes(b"\x82\x01"), "holds EXT1 at byte 2"),
    "persistent text": (opcodes(b"Pstorage\n"), "holds PERSID at byte 2"),
    "text integer": (opcodes(b"I1\n"), "holds INT at byte 2"),
    "buffer": (b"\x80\x05\x97.", "holds NEXT_BUFFER at byte 2"),
    "unknown": (opcodes(b"\xff"), "damaged, or no weights file"),
    "memo": (opcodes(b"}r\xff\xff\xff\x7f"), "memo index 2147483647 at byte 3"),
    "memo missing": (opcodes(b"h\x07"), "damaged, or no weights file"),
    "bytes": (opcodes(b"\x8e" + struct.pack("<Q", 2**60)), "it ends early"),
    "unicode": (opcodes(b"\x8d" + struct.pack("<Q", 2**60)), "it ends early"),
    "long": (opcodes(b"\x8b" + struct.pack("<i", 2**31 - 1)), "it ends early"),
    "string": (opcodes(b"T" + struct.pack("<i", 2**31 - 1)), "it ends early"),
    "negative string": (opcodes(b"T" + struct.pack("<i", -5)), "damaged, or no weights file"),
    "frame": (b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"}.", "it ends early"),
    "endless name": (b"\x80\x02c" + b"a" * 10**6, "damaged, or no weights file"),
    "no stack": (opcodes(b"R"), "its stack is empty"),
    "no mark": (opcodes(b"t"), "a mark is missing"),
    "nothing": (b"\x80\x02.", "its stack is empty"),
    "protocol": (b"\x80\x09}.", "damaged, or no weights file"),
    "nested tuples": (opcodes(b"}" + b")" + b"\x85" * 10**5 + b"K\x01s"), "tuples nested without end"),
    "doubled tuples": (opcodes(b"}" + DOUBLED + b"K\x01s"), "tuples nested without end"),
    "a large tuple as a key, often": (
        opcodes(b"}" + DOUBLED[: 1 + 5 * 20] + b"K\x01s" + b"h\x13K\x01s" * 50),
        "tuples nested without end",
    ),
    "unhashable key": (opcodes(b"}}K\x01s"), "damaged, or no weights file"),
    "name of no text": (b"\x80\x04K\x01K\x02\x93.", "asks for None.None at byte 6"),
}


@EITHER
@pytest.mark.parametrize("name", BOMBS)
def test_pickles_that_no_torch_writes_are_refused(tmp_path: Path, name: str, is_stream: bool) -> None:
    content, message = BOMBS[name]
    if is_stream:
        message = message.split(" at byte")[0]
    refuse(
        write_either(tmp_path / "a.pt", content, is_stream),
        message,
        limit=2**25 if "nested" in name else 2**22,
    )


def test_dictionaries_and_modules_without_end_are_refused(tmp_path: Path) -> None:
    deep = opcodes(b"}" + b"X\x01\x00\x00\x00a}" * 10**5 + b"s" * 10**5)
    refuse(write_archive(tmp_path / "a.pt", deep, []), "nests dictionaries without end", limit=2**27)
    only: Any = {"w": tensor(storage("0", "float32", 1), (1,))}
    for _ in range(200):
        only = {"w": only["w"], "inner": only}
    # After the file above, a long-lived process was once seen to hold 61 MB here.
    refuse(write_archive(tmp_path / "a.pt", only, [bytes(4)]), "nests dictionaries without end", limit=2**27)
    only = {"w": tensor(storage("0", "float32", 1), (1,))}
    for _ in range(60):  # not deep, and 2**60 names
        only = {"a": only, "b": only}
    path = write_archive(tmp_path / "a.pt", {"state_dict": only}, [bytes(4)])
    refuse(path, "nests dictionaries without end", limit=2**26)
    circle: dict[str, Any] = {"w": tensor(storage("0", "float32", 1), (1,))}
    circle["again"] = circle
    refuse(write_archive(tmp_path / "a.pt", circle, [bytes(4)]), "nests dictionaries without end")
    circle = {"model": {}}
    circle["model"].update({"model": circle["model"], "w": {"w": tensor(storage("0", "float32", 1), (1,))}})
    refuse(write_archive(tmp_path / "a.pt", circle, [bytes(4)]), "nests dictionaries without end")


CLAIMS = {
    "too long": (4, ((5,), (1,), 0), "claims more values at 'w' than it holds"),
    "offset": (4, ((4,), (1,), 1), "claims more values"),
    "stride": (4, ((2,), (4,), 0), "claims more values"),
    "huge": (4, ((2**40,), (1,), 0), "claims more values"),
    "product": (4, ((2**40, 2**40), (1, 1), 0), "claims more values"),
    "repeated": (4, ((2**40,), (0,), 0), "claims 4,398,046,511,104 bytes at 'w' and stores 16"),
    "repeated twice": (4, ((2**30, 2**50), (0, 0), 0), "claims .* bytes at 'w' and stores 16"),
    "negative stride": (4, ((2,), (-1,), 3), "describes 'w' in a way that makes no tensor"),
    "negative offset": (4, ((1,), (1,), -1), "makes no tensor"),
    "negative length": (4, ((-1,), (1,), 0), "makes no tensor"),
    "lengths": (4, ((1, 1), (1,), 0), "makes no tensor"),
    "axes": (4, ((1,) * 65, (1,) * 65, 0), "makes no tensor"),
    "text": (4, (("4",), (1,), 0), "makes no tensor"),
    "truth": (4, ((True,), (1,), 0), "makes no tensor"),
    "fraction": (4, ((4.0,), (1,), 0), "makes no tensor"),
    "larger than any number": (4, ((2**70,), (1,), 0), "makes no tensor"),
    "empty": (4, ((0, 2**50, 2**50), (1, 1, 1), 0), "claims 0 bytes at 'w'"),
    "storage larger": (5, ((1,), (1,), 0), "16 bytes in 'weights/data/0'|is damaged at byte"),
    "storage smaller": (3, ((1,), (1,), 0), "16 bytes in 'weights/data/0'|is damaged at byte"),
    "storage huge": (2**50, ((1,), (1,), 0), "16 bytes in 'weights/data/0'|is damaged at byte"),
}


@EITHER
@pytest.mark.parametrize("name", CLAIMS)
def test_claims_that_the_bytes_do_not_bear_out_are_refused(
    tmp_path: Path, name: str, is_stream: bool
) -> None:
    count, view, message = CLAIMS[name]
    content = {"w": tensor(storage("0", "float32", count, *([None] if is_stream else [])), *view)}
    values = np.ones(4, "float32")
    if is_stream:
        refuse(write_stream(tmp_path / "a.pt", content, {"0": values}), message)
    else:
        refuse(write_archive(tmp_path / "a.pt", content, [values.tobytes()]), message)


def test_other_kinds_of_tensors_are_refused_only_where_they_are_weights(tmp_path: Path) -> None:
    sparse = Call(Name("torch._utils", "_rebuild_sparse_tensor"), (Name("torch", "strided"), ()))
    quantised = Call(Name("torch._utils", "_rebuild_qtensor"), ())
    complexes = Stored(("storage", Name("torch", "ComplexFloatStorage"), "0", "cpu", 1))
    contents = open_checkpoint(
        tmp_path, {"state_dict": tensors_of(W), "other": {"s": sparse, "q": quantised}}
    )
    check(contents, W)
    path = tmp_path / "b.pt"
    refuse(write_archive(path, {"s": sparse}, []), "holds a sparse tensor at 's'; expected plain tensors")
    refuse(write_archive(path, {"q": quantised}, []), "holds a quantised tensor at 'q'")
    refuse(write_archive(path, {"c": tensor(complexes, (1,))}, [bytes(8)]), "holds complex64 at 'c'")


@EITHER
@pytest.mark.parametrize("share", [0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.999])
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, is_stream: bool, share: float) -> None:
    path = write_state(tmp_path / "a.pt", ARRAYS, is_stream, epoch=3)
    content = path.read_bytes()
    path.write_bytes(content[: min(int(len(content) * share), len(content) - 4)])
    refuse(path, "a.pt .*(damaged|is a Python pickle, but none that torch.save wrote)")


def move_directory(content: bytes, place: int) -> bytes:
    """Cut a zip archive at a place, and put its directory there as if that were right."""
    start = content.index(b"PK\x01\x02")
    moved = bytearray(content[:place] + content[start:])
    end = moved.rindex(b"PK\x05\x06")
    moved[end + 16 : end + 20] = struct.pack("<I", place)
    return bytes(moved)


@EITHER
def test_missing_values_are_found_at_opening(tmp_path: Path, is_stream: bool) -> None:
    """Nothing else is missing: in the archive, the directory still lists all members in their places."""
    path = write_state(tmp_path / "a.pt", {"w": np.ones(10**4, "float32")}, is_stream)
    content = path.read_bytes()
    cut = content[:-100] if is_stream else move_directory(content, content.index(b"weights/data/0") + 3000)
    path.write_bytes(cut)
    with pytest.raises(WeightsError, match=r"a\.pt is damaged at"):
        torch_archive.read_headers(path)


@EITHER
def test_overwritten_bytes_are_refused_or_change_values_only(tmp_path: Path, is_stream: bool) -> None:
    content = write_state(tmp_path / "a.pt", ARRAYS, is_stream, epoch=3).read_bytes()
    path = tmp_path / "b.pt"
    refused = 0
    for place in range(0, len(content) - 4, 7):
        for damage in (b"\xff" * 4, b"R\x85tb"):
            path.write_bytes(content[:place] + damage + content[place + 4 :])
            try:
                read_all(path)
            except WeightsError:
                refused += 1
    assert refused > 50


@EITHER
def test_a_file_that_changes_after_opening_is_refused(tmp_path: Path, is_stream: bool) -> None:
    held = storage("0", "float32", 12, *([None] if is_stream else []))
    content = {"whole": tensor(held, (12,)), "turned": tensor(held, (4, 3), (1, 4))}
    values = np.ones(12, "float32")
    path = tmp_path / "a.pt"
    if is_stream:
        write_stream(path, content, {"0": values})
    else:
        write_archive(path, content, [values.tobytes()])
    contents = torch_archive.read_headers(path)
    path.write_bytes(path.read_bytes()[:50])
    for found in contents.tensors.values():
        with pytest.raises(WeightsError, match=r"a\.pt can no longer be read"):
            found.read()


def test_other_archives_and_pickles_are_refused(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "a.pt", {}, [], {"constants.pkl": b"", "code/a.py": b""})
    refuse(path, "a.pt is a TorchScript archive.*expected a state dictionary; try torch.save")
    path.write_bytes(pickle.dumps({"w": 1}))
    assert torch_archive.matches(path)
    refuse(path, "a.pt is a Python pickle, but none that torch.save wrote")
    write_state(path, W)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/data.pkl", b"")
    refuse(path, "a.pt is no PyTorch archive; expected one data.pkl")
    write_state(path, W)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("weights/data/0", b"")
    refuse(path, "a.pt holds 'weights/data/0' twice")
    write_archive(path, {}, [], {"../../a": b""})
    refuse(path, r"a.pt holds a member named 'weights/\.\./\.\./a'")
    refuse(
        write_archive(path, tensors_of(W), [W["w"].tobytes()]),
        "a.pt lacks 'weights/data/1'; expected a whole",
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"")
    assert not torch_archive.matches(path)
    (tmp_path / "text").write_bytes(b"just text")
    assert not torch_archive.matches(tmp_path / "text")


def test_the_oldest_format_and_other_tar_archives_are_refused(tmp_path: Path) -> None:
    for name, message in (
        ("sys_info", "was written by PyTorch before 0.1.10"),
        ("a.txt", "is a tar archive"),
    ):
        (tmp_path / name).write_bytes(b"content")
        with tarfile.open(tmp_path / "a.pth.tar", "w") as archive:
            archive.add(tmp_path / name, name)
        assert torch_archive.matches(tmp_path / "a.pth.tar")
        refuse(tmp_path / "a.pth.tar", f"a.pth.tar {message}")


def test_a_cut_off_archive_is_still_known_as_torchs(tmp_path: Path) -> None:
    path = write_state(tmp_path / "a.pt", ARRAYS)
    path.write_bytes(path.read_bytes()[:300])
    assert torch_archive.matches(path)


def test_an_archive_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    # 200 MB of zeros make about 200 kB; the claim alone is refused, nothing is unfolded.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "weights/data.pkl", dump({"w": tensor(storage("0", "float32", 5 * 10**7), (5 * 10**7,))})
        )
        with archive.open("weights/data/0", "w") as member:
            for _ in range(200):
                member.write(bytes(10**6))
    refuse(path, "a.pt claims 200,000,000 bytes at 'weights/data/0' and stores")


def text(content: str) -> bytes:
    """Write a text as an opcode."""
    encoded = content.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


#: A thousand pairs, or a dictionary of them: remembered once, and copied as often as they are named.
PAIRS = b"](" + b"".join(b"M" + struct.pack("<H", n) + b"N\x86" for n in range(1000)) + b"e"
ITEMS = b"}(" + b"".join(b"M" + struct.pack("<H", n) + b"N" for n in range(1000)) + b"u"
ENCODE = b"c_codecs\nencode\nq\x01" + text("a" * 10**6) + b"q\x02" + text("latin1") + b"\x86q\x03"
TABLE = b"ccollections\nOrderedDict\nq\x01"
INERT = b"ctorch.nn.modules.linear\nLinear\nq\x01"
COSTS_MORE = "would take more memory than it is worth at byte"

AMPLIFIED = {
    "encoded texts": (opcodes(ENCODE, b"]", b"h\x01h\x03Ra" * 500), COSTS_MORE),
    "copied pairs": (opcodes(TABLE, PAIRS, b"\x85q\x03]", b"h\x01h\x03Ra" * 3000), COSTS_MORE),
    "copied dictionaries": (opcodes(TABLE, ITEMS, b"\x85q\x03]", b"h\x01h\x03Ra" * 3000), COSTS_MORE),
    "copies of a copy": (
        opcodes(TABLE, ITEMS, b"\x85R\x85q\x03]", b"h\x01h\x03Ra" * 3000),
        COSTS_MORE,
    ),
    "pairs added after they are remembered": (
        opcodes(TABLE, b"]q\x02\x85q\x030h\x02", PAIRS[1:], b"0]", b"h\x01h\x03Ra" * 3000),
        COSTS_MORE,
    ),
    "what a module's reference gives": (
        opcodes(TABLE, b"(", text("module"), ITEMS, b"\x85NNtQq\x03]", b"h\x01h\x03Ra" * 3000),
        COSTS_MORE,
    ),
    "copied states": (opcodes(INERT, ITEMS, b"q\x02]", b"h\x01)\x81h\x02ba" * 3000), COSTS_MORE),
    "sizes as keys": (
        opcodes(b"ctorch\nSize\n](", b"K\x01" * 10**4, b"e\x85Rq\x01}", b"h\x01Ns" * 10**4),
        "tuples nested without end",
    ),
    "large numbers as keys": (
        opcodes(b"\x8b", struct.pack("<i", 10**5), b"\x01" * 10**5, b"q\x01}", b"h\x01Ns" * 10**4),
        "tuples nested without end",
    ),
}


@EITHER
@pytest.mark.parametrize("name", AMPLIFIED)
def test_a_small_pickle_that_copies_much_is_refused_before_it_does(
    tmp_path: Path, name: str, is_stream: bool
) -> None:
    content, message = AMPLIFIED[name]
    path = tmp_path / "a.pt"
    if is_stream:
        write_stream(path, content, {})
    else:
        write_archive(path, content, [], compression=zipfile.ZIP_DEFLATED)
    refuse(path, message, limit=2**24)


@pytest.mark.parametrize("opcode", [b"\x8f", b"}", b"]", b"(\x91", b")\x85", b"\x94"])
def test_objects_without_end_are_refused_before_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opcode: bytes
) -> None:
    """The limit is lowered: the true one is reached as surely, but not as soon."""
    monkeypatch.setattr(torch_scan, "MOST_MADE", 2**20)
    path = write_archive(tmp_path / "a.pt", b"\x80\x04}" + opcode * 10**5 + b".", [])
    refuse(path, f"{COSTS_MORE}|tuples nested", limit=2**23)


def test_the_limits_bear_ten_thousand_tensors_and_no_endless_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = storage("0", "float32", 1)
    many = {f"layer{n}.weight": tensor(held, (1, 1, 1, 1)) for n in range(10**4)}
    path = write_archive(tmp_path / "a.pt", {"state_dict": many, "optimizer": dict(many)}, [bytes(4)])
    assert len(torch_archive.read_headers(path).tensors) == 10**4
    assert torch_scan.MOST_STEPS == 3 * 10**6
    monkeypatch.setattr(torch_scan, "MOST_STEPS", 10**4)
    refuse(path, "it takes more than 10,000 steps", limit=2**24)


def test_a_pickle_that_shrinks_beyond_belief_is_refused(tmp_path: Path) -> None:
    content = b"\x80\x02" + b"\x8f" * 10**7 + b"."
    path = write_archive(tmp_path / "a.pt", content, [], compression=zipfile.ZIP_DEFLATED)
    refuse(path, "a.pt claims a pickle of 10,000,003 bytes and stores 9,")


def test_a_dictionary_in_many_others_is_visited_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared: dict[Any, Any] = {n: {} for n in range(300)}
    holders = {str(n): {"shared": shared, "more": shared} for n in range(300)}
    only = {"w": tensor(storage("0", "float32", 1), (1,))}
    path = write_archive(tmp_path / "a.pt", {**holders, "state_dict": only}, [bytes(4)])
    visits: list[int] = []
    count_visit = torch_state._count_visit
    monkeypatch.setattr(torch_state, "_count_visit", lambda state: (visits.append(1), count_visit(state)))
    assert list(torch_archive.read_headers(path).tensors) == ["w"]
    assert 300 < len(visits) < 3000  # one by one, they would be 180,000
    monkeypatch.setattr(torch_state, "MOST_VISITED", 500)
    refuse(path, "nests dictionaries without end")


def test_what_lies_beside_a_dictionary_in_itself_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_state, "MOST_VISITED", 5000)
    circle: dict[Any, Any] = dict.fromkeys(range(1000))
    circle["model"] = {"state_dict": circle, "w": tensor(storage("0", "float32", 1), (1,))}
    state = torch_state.State()
    monkeypatch.setattr(torch_state, "State", lambda: state)
    with pytest.raises(WeightsError, match="nests dictionaries without end"):
        open_checkpoint(tmp_path, {"model": circle})
    assert len(state.left_out) <= 5000


def test_a_long_name_before_many_tensors_is_not_repeated(tmp_path: Path) -> None:
    held = tensor(storage("0", "float32", 1), (1,))
    many: Any = {f"t{n}": held for n in range(200)}
    for _ in range(90):
        many = {"a" * 900: many}
    path = write_archive(tmp_path / "a.pt", {"state_dict": {"v": held, "x": many}}, [bytes(4)])
    assert list(torch_archive.read_headers(path).tensors) == ["v"]
    path = write_archive(tmp_path / "a.pt", {"v": held, "module." * 10**5: held}, [bytes(4)])
    assert list(torch_archive.read_headers(path).tensors) == ["v"]
