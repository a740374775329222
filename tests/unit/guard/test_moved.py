"""What is open in a project goes along where it is moved."""

from __future__ import annotations

from pathlib import Path

from confined_claude.fs.directory import Location
from confined_claude.guard import moved, records

from ..guarding import put


def carry(tmp_path: Path, *, has_findings: bool = False) -> tuple[Path, Path]:
    old, new = (Location(tmp_path, (name,)) for name in ("old", "new"))
    assert moved.carry_over(old, new, old.at("copies"), new.at("data", "copies")) is has_findings
    return old.path, new.path


def test_what_is_open_and_copies_of_the_repository_go_along_and_the_rest_stays(tmp_path: Path) -> None:
    for name in (*records.CARRIED[:-1], "removed/kept", "project.json", "copies/1/HEAD"):
        put(tmp_path / "old" / name, name.encode())
    old, new = carry(tmp_path, has_findings=True)
    assert {path.name for path in new.iterdir()} == {*records.CARRIED, "lock", "data"}
    assert (new / "findings.json").read_text() == "findings.json"
    assert (new / "removed/kept").exists()
    assert (new / "data/copies/1/HEAD").exists()
    assert {path.name for path in old.iterdir()} == {"project.json", "lock"}
    assert carry(tmp_path) == (old, new)


def test_nothing_at_the_new_place_is_replaced_and_without_records_nothing_is_made(tmp_path: Path) -> None:
    assert not carry(tmp_path)[1].exists()
    put(tmp_path / "old/findings.json", b"old")
    put(tmp_path / "new/findings.json", b"new")
    old, new = carry(tmp_path)
    assert ((old / "findings.json").read_bytes(), (new / "findings.json").read_bytes()) == (b"old", b"new")
