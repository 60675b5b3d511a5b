"""Braces in entries: what a shell would make of them, within bounds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.store.memory import MemoryStore
from pipelines.entries.braces import DEEPEST, MOST_ENTRIES, expanded
from schemas.errors import SpecError
from tests.test_listing_addresses import PNG, filled, listed, outcomes

TEXT = st.text("ab.,-", max_size=3)
NUMBERS = st.sampled_from(["{0..2}", "{08..11}", "{3..1}", "{-01..1}", "{x}", "{}", "{00..00}"])
BALANCED = st.recursive(
    TEXT | NUMBERS, lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"{{{','.join(parts)}}}")
)
ENTRIES = st.lists(TEXT | NUMBERS | BALANCED, min_size=1, max_size=3).map("".join)


def test_braces_stand_for_what_they_do_in_a_shell() -> None:
    texts: list[str] = []

    @settings(max_examples=300, database=None)
    @given(ENTRIES)
    def collect(text: str) -> None:
        texts.append(f"x{text}y")

    collect()
    script = "".join(f"printf '%s\\n' {text} ; echo ==\n" for text in texts)
    shell = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    answers = [answer.splitlines() for answer in shell.split("==\n")[:-1]]
    assert [(text, expanded(text)) for text in texts] == list(zip(texts, answers, strict=True))


@pytest.mark.parametrize(
    "text", ["{0..100000}", "{0..999}{0..999}", "{" * (DEEPEST + 2) + "a,b" + "}" * (DEEPEST + 2), "{,}" * 40]
)
def test_braces_have_bounds(text: str) -> None:
    with pytest.raises(SpecError, match=rf"^inputs: .*(more than {MOST_ENTRIES} entries|{DEEPEST} deep)"):
        expanded(text)
    assert expanded("{" * 100_000) == ["{" * 100_000]


def test_a_file_whose_name_has_braces_is_itself(tmp_path: Path) -> None:
    for name in ("{a,b}.png", "c1.png", "c2.png"):
        (tmp_path / name).write_bytes(PNG)
    entries = (f"{tmp_path}/{{a,b}}.png", f"{tmp_path}/c{{1..3}}.png")
    assert outcomes(listed(*entries), f"{tmp_path}/") == [
        ("{a,b}.png", "image", None),
        ("c1.png", "image", None),
        ("c2.png", "image", None),
        ("c3.png", "image", "not_found"),
    ]
    root = filled("braces", "{a,b}.png", "c1.png", "c2.png")
    entries = (f"{root}/{{a,b}}.png", f"{root}/c{{1..3}}.png", f"{root}/{{c,d}}*.png")
    listing = listed(*entries)
    assert outcomes(listing, f"{root}/") == [
        ("{a,b}.png", "image", None),
        ("c1.png", "image", None),
        ("c2.png", "image", None),
        ("c3.png", "image", "not_found"),
        ("d*.png", "image", "not_found"),
    ]
    assert listing.skipped == {"named twice": 2}
    assert MemoryStore(root).list()
