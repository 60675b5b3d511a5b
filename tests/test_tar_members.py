"""A tar as an index: names, offsets and sizes as Python's tarfile has them, and a word where tarfile says none."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.store.inputs.tar_members import BLOCK, Damage, Member, read_members, sequential

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def tar_of(*members: tuple[str, bytes], form: int = tarfile.PAX_FORMAT, **fields: Any) -> bytes:
    """fields: of all headers."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in fields.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
    return sink.getvalue()


def index(data: bytes) -> tuple[list[Member], Damage | None]:
    *members, last = [*read_members(lambda offset, size: data[offset : offset + size], len(data)), None]
    if isinstance(members[-1] if members else None, Damage):
        last = members.pop()
    assert all(isinstance(member, Member) for member in members)
    return members, last  # type: ignore[return-value]


SMALL = tar_of(("a.txt", b"x" * 700), ("b/c.jpg", b"y" * 512), ("n" * 150 + ".png", b"z" * 5), ("d.cls", b""))


names = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=300).filter(
    lambda name: name.strip("/") == name
)


@settings(deadline=None)
@given(st.lists(st.tuples(names, st.binary(max_size=1500)), max_size=6), st.sampled_from(FORMATS))
def test_names_offsets_and_sizes_are_those_of_tarfile(members: list[tuple[str, bytes]], form: int) -> None:
    try:
        data = tar_of(*members, form=form)
    except ValueError:  # a name that is too long for ustar
        return
    listed, damage = index(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        expected = [(member.name, member.offset_data, member.size) for member in tar]
    assert [(member.name, member.offset, member.size_bytes) for member in listed] == expected
    assert damage is None
    contents = [data[member.offset : member.offset + member.size_bytes] for member in listed]
    assert contents == [content for _, content in members]


@settings(deadline=None)
@given(st.data())
def test_flipped_bytes_are_damage_and_nothing_else(data: st.DataObject) -> None:
    archive = bytearray(data.draw(st.sampled_from((SMALL, HOSTILE["sparse"], HOSTILE["gnu"]))))
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(archive) - 1))
        archive[place] = data.draw(st.integers(0, 255))
    members, _ = index(bytes(archive))
    assert all(member.offset + member.size_bytes <= len(archive) for member in members)


@settings(deadline=None)
@given(st.binary(max_size=3000))
def test_any_bytes_are_an_archive_or_damage(data: bytes) -> None:
    members, damage = index(data)
    assert members or damage


def test_an_archive_that_is_cut_keeps_every_member_before_the_cut(amount: Callable[[int, int], int]) -> None:
    """At every 512th byte, and beside it."""
    large = tar_of(*((f"{number:04}.jpg", bytes([number % 256]) * (number * 37 % 3000)) for number in range(300)))
    for data in (SMALL, large)[: amount(1, 2)]:
        full, damage = index(data)
        assert damage is None
        for cut in sorted({at + by for at in range(0, len(data), BLOCK) for by in (0, 1, 511)}):
            members, damage = index(data[:cut])
            assert members == [member for member in full if member.offset + member.size_bytes <= cut and cut]
            ended = full[-1].offset + -(-full[-1].size_bytes // BLOCK) * BLOCK + 2 * BLOCK
            assert (damage is None) == (cut >= ended), cut
            if damage is not None:
                assert (damage.kind == "truncated") == (cut > 0)


def header(name: bytes, size: bytes = b"00000000000\0", kind: bytes = b"0", link: bytes = b"") -> bytes:
    block = bytearray(BLOCK)
    block[: len(name)] = name
    block[100:124] = b"0000644\0" + b"0000000\0" * 2
    block[124:136], block[136:148] = size, b"00000000000\0"
    block[148:156], block[156:157] = b" " * 8, kind
    block[157 : 157 + len(link)] = link
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


END = bytes(2 * BLOCK)
AFTER = header(b"after.jpg", b"00000000003\0") + b"abc".ljust(BLOCK, b"\0")
SPARSE = bytearray(header(b"holes.mp4", b"00000001000\0", b"S"))
SPARSE[482] = 1
SPARSE[148:156] = b" " * 8
SPARSE[148:156] = b"%06o\0 " % sum(SPARSE)
HOSTILE = {
    "gnu": tar_of(("g" * 300 + ".jpg", b"1"), ("h.jpg", b"2" * 600), form=tarfile.GNU_FORMAT),
    "sparse": bytes(SPARSE) + bytes(BLOCK - 8) + b"\1" + bytes(7) + bytes(BLOCK) + b"s" * BLOCK + AFTER + END,
}


@pytest.mark.parametrize(
    ("kind", "type_"),
    [(b"1", "link"), (b"2", "link"), (b"3", "device"), (b"4", "device"), (b"5", "folder"), (b"6", "pipe")],
)
def test_what_is_no_file_is_told_and_passed_over(kind: bytes, type_: str) -> None:
    members, damage = index(header(b"x.jpg", kind=kind, link=b"/etc/passwd") + AFTER + END)
    assert [(member.name, member.type) for member in members] == [("x.jpg", type_), ("after.jpg", "file")]
    assert damage is None
    fault = members[0].fault()
    assert fault is not None
    assert (fault.kind, str(fault)) == ("unknown_type", f"this member of the shard is a {type_}")


def test_sparse_members_of_all_formats_are_passed_over() -> None:
    assert [member.type for member in index(HOSTILE["sparse"])[0]] == ["sparse file", "file"]
    modern = tar_of(("a.mp4", b"1\n0\n1\n"), ("b.jpg", b""), pax_headers={"GNU.sparse.major": "1"})
    assert {member.type for member in index(modern)[0]} == {"sparse file"}


PAX_NAME = header(b"p", b"00000000014\0", b"x") + b"12 path=pax\n".ljust(BLOCK, b"\0")
LONG_NAME = header(b"L", b"00000000005\0", b"L") + b"long\0".ljust(BLOCK, b"\0")


@pytest.mark.parametrize(
    "data",
    [
        PAX_NAME + LONG_NAME + AFTER + END,
        LONG_NAME + PAX_NAME + AFTER + END,
        header(b"folder", b"00000001000\0", b"5") + AFTER + END,
        header(b"link", b"00000001000\0", b"2") + AFTER + END,
        header(b"label", b"00000001000\0", b"V") + bytes(BLOCK) + AFTER + END,
    ],
)
def test_what_can_be_read_in_two_ways_is_read_as_tarfile_does(data: bytes) -> None:
    """What another program sees in a shard is what is sent to the model."""
    members, damage = index(data)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        expected = [(member.name, member.offset_data, member.isreg()) for member in tar]
    assert [(member.name, member.offset, member.type == "file") for member in members] == expected
    assert damage is None


@pytest.mark.parametrize("name", [b"/etc/a.jpg", b"../a.jpg", b"a/../../b.jpg", b".."])
def test_names_that_lead_out_are_a_fault(name: bytes) -> None:
    (member,), damage = index(header(name) + END)
    fault = member.fault()
    assert fault is not None
    assert (fault.kind, damage) == ("malformed", None)


def test_a_nul_in_a_pax_name_is_a_fault() -> None:
    data = tar_of(("n" * 120 + "\x01.jpg", b"")).replace(b"\x01.jpg", b"\x00.jpg")
    (member,), _ = index(data)
    assert member.name == "n" * 120 + "\0.jpg"
    assert member.fault() is not None


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"", "empty_file", "the shard is empty"),
        (b"\x1f\x8b" + bytes(600), "malformed", "packed with gzip; unpack it first"),
        (b"no tar at all".ljust(600), "malformed", "it is no tar"),
        (header(b"a.mp4", b"77777777777\0") + bytes(3000), "truncated", "'a.mp4', which should have 8589934591 bytes"),
        (header(b"a.mp4", b"\x80" + (1 << 80).to_bytes(11, "big")), "truncated", "which should have"),
        (header(b"a.mp4", b"\xff" * 12), "malformed", "negative size"),
        (header(b"a.mp4", b"-0000000001\0"), "malformed", "without numbers"),
        (header(b"x", b"77777777777\0", b"x"), "malformed", "a header of 8589934591 bytes"),
        (header(b"x", b"00000000012\0", b"x") + b"99 path=a\n".ljust(BLOCK, b"\0"), "malformed", "pax records"),
        (header(b"x", b"00000000012\0", b"g") + b"10 path=a\n".ljust(BLOCK, b"\0"), "malformed", "for all members"),
        (tar_of(("a", b""))[:BLOCK] + bytes(BLOCK), "truncated", "one of the two empty blocks"),
        (tar_of(("a", b""))[: 2 * BLOCK] + AFTER + END, "malformed", "empty block where a header"),
        (tar_of(("a", b"")) + tar_of(("b", b"")), "malformed", "was another tar appended"),
        (AFTER + END + bytes(2 << 20), "malformed", "more follows its end"),
        (header(b"x", b"00000000012\0", b"x") + b"10 path=a\n".ljust(BLOCK, b"\0") + END, "malformed", "name without"),
    ],
)
def test_damage_is_said_in_a_sentence(data: bytes, kind: str, message: str) -> None:
    _, damage = index(data)
    assert damage is not None
    assert damage.kind == kind
    assert message in damage.message


def test_a_size_of_more_than_eight_gibibytes_is_read_in_both_forms() -> None:
    size = 9 << 30
    for head in (
        header(b"a.mp4", b"\x80" + size.to_bytes(11, "big")),
        header(b"x", b"00000000023\0", b"x") + b"19 size=9663676416\n".ljust(BLOCK, b"\0") + header(b"a.mp4"),
    ):
        data = dict(enumerate([head[start : start + BLOCK] for start in range(0, len(head), BLOCK)]))
        at = len(head)

        def read_at(offset: int, length: int, data: dict[int, bytes] = data) -> bytes:
            return data.get(offset // BLOCK, bytes(length))[:length]

        (member,) = read_members(read_at, at + size + 2 * BLOCK)
        assert isinstance(member, Member)
        assert (member.offset, member.size_bytes) == (at, size)


@settings(deadline=None)
@given(st.integers(1, 900), st.booleans())
def test_what_comes_in_pieces_is_the_same_archive(size: int, reads: bool) -> None:
    asked: list[int] = []

    def pieces(start: int) -> Any:
        asked.append(start)
        yield from (SMALL[at : at + size] for at in range(start, len(SMALL), size))

    read_at = sequential(pieces, len(SMALL))
    for member, expected in zip(read_members(read_at, len(SMALL)), index(SMALL)[0], strict=True):
        assert member == expected
        if reads:
            content = read_at(expected.offset, expected.size_bytes)
            assert content == SMALL[expected.offset : expected.offset + expected.size_bytes]
    assert asked == [0]


def test_what_is_passed_over_is_not_fetched_where_it_is_much() -> None:
    size = 40 << 20
    head, asked = header(b"a.mp4", b"%011o\0" % size), []

    def pieces(start: int) -> Any:
        asked.append(start)
        if start == 0:
            yield head + bytes(1000)
            raise AssertionError("read on")
        yield (head + bytes(size) + AFTER + END)[start:]

    total = len(head) + size + len(AFTER) + len(END)
    assert [member.name for member in read_members(sequential(pieces, total), total) if isinstance(member, Member)] == [
        "a.mp4",
        "after.jpg",
    ]
    assert asked == [0, len(head) + size]


def test_a_member_of_two_sizes_is_none_to_read() -> None:
    """Its header says one, its pax record another: readers differ in which they believe."""
    record = b"11 size=10\n"
    data = header(b"pax", b"%011o\0" % len(record), b"x") + record.ljust(BLOCK, b"\0")
    data += header(b"a.png", b"%011o\0" % 300) + b"x" * 10 + bytes(BLOCK - 10) + bytes(2 * BLOCK)
    (member,), damage = index(data)
    assert damage is None
    assert (member.size_bytes, member.type) == (10, "file of two sizes")
    fault = member.fault()
    assert fault is not None
    assert fault.kind == "unknown_type"
