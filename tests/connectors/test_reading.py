"""Files are found as they were asked for, and what is wrong is said with what would work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aiops.connectors.reading.csv_lines import read_header
from aiops.connectors.reading.opening import BAD_LINES_KEPT, BadLines, find_files, suffix_of
from aiops.errors import FileError

SUFFIXES = (".csv", ".parquet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.csv", "a.csv.gz", "deep/c.PARQUET", ".hidden/d.csv", ".e.csv", "readme.md"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def names(found: list[str], folder: Path) -> list[str]:
    return [Path(name).relative_to(folder).as_posix() for name in found]


def test_a_directory_is_searched_to_the_bottom_less_what_is_hidden(folder: Path) -> None:
    assert names(find_files(folder, SUFFIXES), folder) == ["a.csv.gz", "b.csv", "deep/c.PARQUET"]


def test_files_keep_the_order_asked_for_and_come_once(folder: Path) -> None:
    asked = [folder / "b.csv", folder, str(folder / "deep" / ".." / "b.csv")]
    assert names(find_files(asked, SUFFIXES), folder) == ["b.csv", "a.csv.gz", "deep/c.PARQUET"]


def test_patterns_match_files_of_known_formats(folder: Path) -> None:
    assert names(find_files(str(folder / "*"), SUFFIXES), folder) == ["a.csv.gz", "b.csv"]
    assert names(find_files(str(folder / "**" / "c.*"), SUFFIXES), folder) == ["deep/c.PARQUET"]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(folder: Path) -> None:
    odd = folder / "b[1].csv"
    odd.touch()
    (folder / "b1.csv").touch()
    assert names(find_files(odd, SUFFIXES), folder) == ["b[1].csv"]


def test_a_pipe_may_be_called_anything(tmp_path: Path) -> None:
    pipe = tmp_path / "feed"
    os.mkfifo(pipe)
    assert find_files([pipe, "-"], SUFFIXES, pipes=True) == [str(pipe), "-"]
    with pytest.raises(FileError, match="tells no format"):
        find_files(pipe, SUFFIXES)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ([], "no file was named"),
        ("c.csv", r"no such file; did you mean b\.csv"),
        ("there/b.csv", "there is no directory .*there"),
        ("x-*.csv", r"matches no file called \.csv, \.parquet"),
        ("readme.md", r"suffix \.md tells no format; known are \.csv, \.parquet"),
        ("z.cvs", r"did you mean \.csv"),
        ("notes", r"holds no file called .*; it holds \.txt"),
        ("nothing", "it holds no file at all"),
        ("-", "no such file"),
    ],
)
def test_what_is_asked_for_in_vain_is_explained(
    folder: Path, asked: str | list[str], says: str
) -> None:
    (folder / "z.cvs").touch()
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").touch()
    (folder / "nothing").mkdir()
    with pytest.raises(FileError, match=says):
        find_files(str(folder / asked) if isinstance(asked, str) else asked, SUFFIXES)


def test_the_suffix_is_what_is_under_the_packing() -> None:
    assert suffix_of("a.b.csv.gz") == suffix_of("A.CSV") == suffix_of("x.csv.zst") == ".csv"
    assert suffix_of("x.gz") == suffix_of("x") == ""


def test_bad_lines_are_counted_and_the_first_kept() -> None:
    bad = BadLines()
    for line in range(1, 3 * BAD_LINES_KEPT):
        bad.add("f", line, "why")
    assert bad.count == 3 * BAD_LINES_KEPT - 1
    assert [one.line for one in bad.first] == list(range(1, BAD_LINES_KEPT + 1))


@pytest.mark.parametrize(
    ("line", "names", "delimiter"),
    [
        (b"a,b,c\r\n", ("a", "b", "c"), ","),
        (b"\xef\xbb\xbfa;b,c;d\n", ("a", "b,c", "d"), ";"),
        (b'"a\tb"\tc\td', ("a\tb", "c", "d"), "\t"),
        (b"alone", ("alone",), ","),
    ],
)
def test_a_header_tells_names_and_delimiter(
    line: bytes, names: tuple[str, ...], delimiter: str
) -> None:
    assert read_header(line) == (names, delimiter)


@pytest.mark.parametrize("line", [b"a,b,a", b"a,,b", b"\xff", b'"a', b""])
def test_a_header_that_names_nothing_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"header|decode"):
        read_header(line)
