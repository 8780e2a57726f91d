"""An export is verified where there is neither Django nor a database."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import merkle, verify
from ledger.sequencer import note_text
from ledger.verify import main, verify_export, verify_file

ROOT = Path(__file__).parents[2]


def make_export(count: int, origin: str = "shop/0") -> list[bytes]:
    bodies = [b'{"actor":"","number":%d}' % number for number in range(count)]
    hashes = [merkle.leaf_hash(body) for body in bodies]
    note = note_text(origin, count, merkle.root_of(hashes))
    rows = enumerate(zip(bodies, hashes, strict=True))
    return [
        json.dumps({"checkpoint": note}).encode() + b"\n",
        *(make_entry(number, body, digest) for number, (body, digest) in rows),
    ]


def make_entry(number: int, body: bytes, digest: bytes | None = None) -> bytes:
    digest = digest or merkle.leaf_hash(body)
    said = digest.hex().encode()
    return b'{"sequence":%d,"body":%b,"hash":"%b"}\n' % (number, body, said)


def found(lines: list[bytes]) -> tuple[int | None, str]:
    first = verify_export(iter(lines)).first
    with TemporaryDirectory() as folder:
        path = Path(folder) / "export.jsonl"
        path.write_bytes(b"".join(lines))
        assert verify_file(path).first == first
    return (first.sequence, str(first.kind)) if first else (None, "whole")


def run(tmp_path: Path, lines: list[bytes], *words: str) -> tuple[int, str]:
    path = tmp_path / "export.jsonl"
    path.write_bytes(b"".join(lines))
    said: list[str] = []
    status = main([str(path), *words], say=lambda text, **_: said.append(text))
    return status, "\n".join(said)


@given(st.integers(0, 1300))
def test_an_export_that_nobody_touched_is_whole(count):
    assert found(make_export(count)) == (None, "whole")


@given(st.integers(1, 700), st.data())
def test_any_edit_is_found_by_its_sequence(count, data):
    sequence = data.draw(st.integers(0, count - 1))
    lines = make_export(count)
    lines[1 + sequence] = lines[1 + sequence].replace(b'"actor":""', b'"actor":"x"')

    assert found(lines) == (sequence, "edited")


@given(st.integers(2, 700), st.data())
def test_any_missing_entry_is_found(count, data):
    sequence = data.draw(st.integers(0, count - 1))
    lines = make_export(count)
    del lines[1 + sequence]

    assert found(lines) == (sequence, "missing")


@given(st.integers(2, 700), st.data())
def test_any_two_neighbours_that_changed_places_are_found(count, data):
    sequence = data.draw(st.integers(0, count - 2))
    lines = make_export(count)
    lines[1 + sequence], lines[2 + sequence] = lines[2 + sequence], lines[1 + sequence]

    first, kind = found(lines)

    assert first == sequence
    # Across the end of a chunk the one in front looks like a gap.
    assert kind == ("missing" if sequence % 256 == 255 else "reordered")


def test_an_entry_that_is_there_twice_is_found():
    lines = make_export(300)
    lines.insert(200, lines[199])

    assert found(lines) == (199, "inserted")


def test_an_entry_more_than_the_checkpoint_covers_is_found():
    lines = [*make_export(300), make_entry(300, b"{}")]

    assert found(lines) == (300, "inserted")


def test_an_edit_with_its_new_hash_is_found_by_the_checkpoint():
    lines = make_export(300)
    lines[200] = make_entry(199, b'{"actor":"forged"}')

    assert found(lines) == (0, "checkpoint disagrees")


def test_a_line_that_is_no_entry_is_found():
    lines = make_export(300)
    lines[200] = b"nonsense\n"

    assert found(lines) == (199, "edited")


def test_an_export_that_was_spelled_anew_is_still_whole():
    head, *rows = make_export(300)
    spaced = [json.dumps(json.loads(row), indent=None).encode() + b"\n" for row in rows]

    assert found([head, *spaced]) == (None, "whole")


def test_an_anchor_held_elsewhere_tells_where_a_rewritten_export_parts(tmp_path):
    held = tmp_path / "anchors.jsonl"
    lines = []
    for size in (100, 200, 300):
        honest = [
            merkle.leaf_hash(b'{"actor":"","number":%d}' % n) for n in range(size)
        ]
        root = merkle.root_of(honest).hex()
        lines.append({"origin": "shop/0", "size": size, "root": root})
    held.write_text("".join(json.dumps(line) + "\n" for line in lines))
    bodies = [b'{"actor":"","number":%d}' % number for number in range(300)]
    bodies[150] = b'{"actor":"forged"}'
    root = merkle.root_of(map(merkle.leaf_hash, bodies))
    head = json.dumps({"checkpoint": note_text("shop/0", 300, root)}).encode() + b"\n"
    forged = [head, *(make_entry(number, body) for number, body in enumerate(bodies))]

    alone = run(tmp_path, forged)
    against = run(tmp_path, forged, "--against", str(held))

    assert alone[0] == 0
    assert against[0] == 1
    assert "checkpoint disagrees at #100" in against[1]
    assert "one of #100 to #199 was changed" in against[1]


def test_an_entry_is_printed_when_asked_for(tmp_path):
    status, text = run(tmp_path, make_export(30), "--sequence", "7")

    assert (status, '"number":7' in text) == (0, True)
    assert run(tmp_path, make_export(30), "--sequence", "30")[0] == 2


@pytest.mark.parametrize("content", [b"", b"{}\n", b"\xff\n", b'{"checkpoint":"x"}\n'])
def test_what_is_no_export_cannot_be_looked_at(tmp_path, content):
    status, text = run(tmp_path, [content])

    assert (status, text.startswith("could not look: ")) == (2, True)
    assert main([str(tmp_path / "nowhere")], say=lambda *_, **__: None) == 2


@pytest.mark.parametrize("field", [b'"body":"', b'"hasH":"', b'"hash":\t'])
def test_a_line_that_ends_otherwise_is_found_by_its_sequence(field):
    lines = make_export(300)
    lines[200] = lines[200].replace(b'"hash":"', field)

    assert found(lines)[0] == (199 if field != b'"hasH":"' else None)


def test_several_processes_find_what_one_finds(tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "PART_BYTES", 4096)
    path = tmp_path / "export.jsonl"
    path.write_bytes(b"".join(make_export(3000)))
    whole = path.read_bytes()

    alone, together = verify_file(path), verify_file(path, jobs=2)

    assert alone.ok
    assert together.ok
    path.write_bytes(whole.replace(b'"number":2900}', b'"number":2901}'))
    assert verify_file(path, jobs=2).first.sequence == 2900
    assert verify_file(path, jobs=2).first == verify_file(path).first


def test_a_piece_cut_out_between_two_processes_is_missed_by_none(tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "PART_BYTES", 4096)
    head, *rows = make_export(3000)
    path = tmp_path / "export.jsonl"
    path.write_bytes(b"".join([head, *rows[:1024], *rows[1280:]]))

    assert str(verify_file(path, jobs=2).first.kind) == "missing"


def test_a_torn_archive_cannot_be_looked_at(tmp_path):
    path = tmp_path / "export.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(make_export(300)))[:-100])

    assert main([str(path)], say=lambda *_, **__: None) == 2


def test_the_command_needs_no_installed_package(tmp_path):
    path = tmp_path / "export.jsonl.gz"
    path.write_bytes(gzip.compress(b"".join(make_export(300))))

    done = subprocess.run(
        [sys.executable, "-S", "-m", "ledger.verify", str(path)],
        cwd=ROOT,
        text=True,
        capture_output=True,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("whole: 300 entries, root ")
