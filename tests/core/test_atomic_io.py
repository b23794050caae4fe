"""Files are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from affectstream.core import atomic_io
from affectstream.core.errors import UserError, from_os_error
from tests import ROOT


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "x.json"
    with atomic_io.atomic_write(final) as temporary:
        temporary.write_text("new")
        assert temporary.suffix == ".json"
        assert temporary.parent == final.parent
        assert not final.exists()
    assert final.read_text() == "new"
    assert names(final.parent) == ["x.json"]


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), SystemExit(1)])
def test_what_was_there_stays_when_writing_fails(error: BaseException, tmp_path: Path) -> None:
    final = tmp_path / "x.txt"
    final.write_text("old")
    with pytest.raises(type(error)), atomic_io.atomic_write(final) as temporary:
        temporary.write_text("ne")
        raise error
    assert final.read_text() == "old"
    assert names(tmp_path) == ["x.txt"]


def test_a_folder_too(tmp_path: Path) -> None:
    with atomic_io.atomic_write(tmp_path / "run") as temporary:
        temporary.mkdir()
        (temporary / "a").write_text("a")
    assert names(tmp_path / "run") == ["a"]
    with pytest.raises(ZeroDivisionError), atomic_io.atomic_write(tmp_path / "other") as temporary:
        temporary.mkdir()
        (temporary / "a").write_text("a")
        _ = 1 / 0
    assert names(tmp_path) == ["run"]


def test_a_full_disk_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    final = tmp_path / "x.txt"
    with pytest.raises(UserError) as caught, atomic_io.atomic_write(final) as temporary:
        temporary.write_text("ne")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(caught.value) == (
        f"{final}: disk full; free some space and run the same command again"
    )
    assert names(tmp_path) == []


def test_a_place_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="a file stands where a folder is needed"):
        atomic_io.write_text(tmp_path / "file" / "sub" / "x.txt", "x")


@pytest.mark.parametrize(
    "code", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOENT, errno.EIO]
)
def test_every_error_of_the_system_names_the_file(code: int) -> None:
    line = str(from_os_error(OSError(code, "what the system says"), "/some/file"))
    assert line.startswith("/some/file: ")
    assert ";" in line
    assert "\n" not in line


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    (tmp_path / "keep.txt").touch()
    (tmp_path / "talk.part-1.mp4").touch()  # of the user's own
    (tmp_path / f"x{atomic_io.TEMPORARY_MARK}0123abcd.txt").touch()
    (tmp_path / f"y{atomic_io.TEMPORARY_MARK}4567cdef").mkdir()
    (tmp_path / f"y{atomic_io.TEMPORARY_MARK}4567cdef" / "z").touch()
    atomic_io.remove_stale_temporaries(tmp_path)
    assert names(tmp_path) == ["keep.txt", "talk.part-1.mp4"]


def test_json_is_written_whole_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    atomic_io.write_json(path, {"ä": [1, 2.5, None]})
    assert atomic_io.read_json(path) == {"ä": [1, 2.5, None]}
    with pytest.raises(ValueError, match="JSON"):
        atomic_io.write_json(path, float("nan"))
    assert atomic_io.read_json(path) == {"ä": [1, 2.5, None]}
    path.write_text('{"ä": [1')
    with pytest.raises(UserError, match=r"x\.json: damaged"):
        atomic_io.read_json(path)
    with pytest.raises(UserError, match="not found; check the path"):
        atomic_io.read_json(tmp_path / "absent.json")


def test_csv_quotes_cells_and_refuses_other_fields(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    atomic_io.write_csv(path, ("a", "b"), [{"a": 1, "b": 'x,"y"\nz'}])
    assert path.read_bytes() == b'a,b\n1,"x,""y""\nz"\n'
    with pytest.raises(ValueError, match="fields not in fieldnames"):
        atomic_io.write_csv(path, ("a",), [{"c": 1}])
    assert path.read_bytes().startswith(b"a,b\n")


def test_a_digest_is_of_the_content(tmp_path: Path) -> None:
    assert atomic_io.digest({"a": 1, "b": [2]}) == atomic_io.digest({"b": [2], "a": 1})
    assert atomic_io.digest({"a": 1}) != atomic_io.digest({"a": "1"})
    (tmp_path / "x").write_bytes(b"abc")
    assert atomic_io.file_sha256(tmp_path / "x").startswith("ba7816bf8f01cfea")


def test_a_claimed_folder_is_made_and_goes_again_when_nothing_was_written(tmp_path: Path) -> None:
    with atomic_io.folder_lock(tmp_path / "runs" / "mine"):
        assert (tmp_path / "runs" / "mine").is_dir()
    assert names(tmp_path) == []
    with atomic_io.folder_lock(tmp_path / "runs" / "mine"):
        (tmp_path / "runs" / "a").touch()
    assert names(tmp_path / "runs") == ["a"]
    with atomic_io.folder_lock(tmp_path / "runs"):
        pass
    assert names(tmp_path) == ["runs"]


def test_what_one_has_claimed_no_other_gets_until_the_end(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(UserError) as caught, atomic_io.folder_lock(out), atomic_io.folder_lock(out):
        raise AssertionError("claimed twice")
    assert str(caught.value) == (
        f"{out}: another program is writing there; wait for it, or choose another --out"
    )
    with atomic_io.folder_lock(out):
        assert out.is_dir()


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    code = """
import os
import sys
from affectstream.core import atomic_io
claim = atomic_io.folder_lock(sys.argv[1])
claim.__enter__()
os.kill(os.getpid(), 9)
"""
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False)
    assert ended.returncode == -9
    with atomic_io.folder_lock(tmp_path):
        pass


def test_where_no_folder_can_be_made_nothing_is_claimed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="a file stands where a folder is needed"):
        atomic_io.folder_lock(tmp_path / "file" / "run").__enter__()


def test_a_folder_that_cannot_be_locked_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with atomic_io.folder_lock(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


# === A home that cannot be written to ===


def test_a_home_that_cannot_be_written_to_leaves_no_word_behind(tmp_path: Path) -> None:
    # Matplotlib made a folder among ours and complained at the end that it was gone.
    program = (
        "from affectstream.core import atomic_io\n"
        "with atomic_io.private_tempdir():\n    import matplotlib.pyplot"
    )
    unset = ("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    known = {key: value for key, value in os.environ.items() if key not in unset}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**known, "HOME": "/proc/nohome", "TMPDIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_can_be_written_to_stays_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MPLCONFIGDIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with atomic_io.private_tempdir():
        assert "MPLCONFIGDIR" not in os.environ
    monkeypatch.setenv("HOME", "/proc/nohome")
    with atomic_io.private_tempdir():
        assert Path(os.environ["MPLCONFIGDIR"]).parent == Path(os.environ["TMPDIR"])
    assert "MPLCONFIGDIR" not in os.environ
