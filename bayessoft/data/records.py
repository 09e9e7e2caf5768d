"""The records of a CSV file before their cells are read: header, lines, ids, all as they have to be."""

from __future__ import annotations

import csv
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from io import BytesIO, TextIOWrapper
from pathlib import Path

from bayessoft.errors import DataError, counted, listed

__all__ = ["Layout", "content_of", "layout_of"]


@dataclass(frozen=True, eq=False)
class Layout:
    """Header, first line of each record, and the cells of the id column."""

    path: Path
    header: list[str]
    lines: array[int]
    ids: list[str] | None

    def place(self, record: int) -> str:
        """Name a record by line, and by id where there is one."""
        return f"line {self.lines[record]}" + (f" (id {self.ids[record]!r})" if self.ids else "")

    def position(self, name: str) -> int:
        """Find a column by name."""
        return _position(self.path, self.header, name)


def content_of(path: Path) -> bytes:
    """Read a file at once, so that a pipe serves too."""
    try:
        return path.read_bytes()
    except OSError as problem:
        here = f"the current folder is {Path.cwd()}"
        raise DataError(f"{path}: {problem.strerror}: pass the path of a readable CSV file ({here})") from None


def layout_of(path: Path, content: bytes, id: str | None) -> Layout:
    """Walk once over the records: every one as long as the header, readable text throughout."""
    file = TextIOWrapper(BytesIO(content), encoding="utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(_text(path, file), strict=True, skipinitialspace=True)
    header: list[str] = []
    lines = array("q")
    ids: list[str] | None = None if id is None else []
    position, start = -1, 1
    try:
        for record in reader:
            line, start = start, reader.line_num + 1
            if not record or (len(record) == 1 and not record[0].strip()):
                continue  # a blank line, which pandas skips too
            if not header:
                header = [name.strip() for name in record]
                _check_header(path, header)
                position = -1 if id is None else _position(path, header, id)
            elif len(record) != len(header):
                raise DataError(
                    f"{path}: line {line} has {counted(len(record), 'field')} but the header has {len(header)}: "
                    "give every line the same fields, and quote text that holds a comma"
                )
            else:
                lines.append(line)
                if ids is not None:
                    ids.append(record[position].strip())
    except csv.Error as problem:
        raise DataError(f"{path}: the record at line {start} is malformed ({problem}): check its quotes") from None
    if not lines:
        found = "there is a header but no row" if header else "the file is empty"
        raise DataError(f"{path}: {found}: a header line and rows of numbers are needed")
    layout = Layout(path, header, lines, ids)
    _check_ids(layout, id)
    return layout


def _text(path: Path, lines: Iterable[str]) -> Iterator[str]:
    """Pass lines on, refusing NUL characters and bytes that are not UTF-8."""
    for number, line in enumerate(lines, start=1):
        if not line.isascii() and any("\udc80" <= letter <= "\udcff" for letter in line):
            raise DataError(f"{path}: line {number} is not UTF-8 text: save the file as UTF-8 CSV")
        if "\0" in line:
            raise DataError(f"{path}: line {number} holds a NUL character: this is no CSV text, or it is damaged")
        yield line


def _check_header(path: Path, header: list[str]) -> None:
    """Refuse other separators, and names that are missing or repeated."""
    for separator, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and separator in header[0]:
            raise DataError(f"{path}: the header is separated by {word}: save the file with commas")
    if "" in header:
        raise DataError(f"{path}: column {header.index('') + 1} has no name: name every column in the header")
    if twice := [name for name, count in Counter(header).items() if count > 1]:
        raise DataError(f"{path}: the header repeats {listed(twice)}: give every column a name of its own")


def _position(path: Path, header: list[str], name: str) -> int:
    """Find a column by name."""
    if name in header:
        return header.index(name)
    close = get_close_matches(name, header, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise DataError(f"{path} has no column {name!r}: {hint}choose from {listed(header, shown=20)}")


def _check_ids(layout: Layout, id: str | None) -> None:
    """Refuse missing and repeated ids."""
    first: dict[str, int] = {}
    for record, name in enumerate(layout.ids or ()):
        if not name:
            raise DataError(f"{layout.path}: line {layout.lines[record]} has no {id!r}: give every row an id")
        if name in first:
            both = f"lines {layout.lines[first[name]]} and {layout.lines[record]} share the {id} {name!r}"
            raise DataError(f"{layout.path}: {both}: give every row an id of its own, or choose another id column")
        first[name] = record
