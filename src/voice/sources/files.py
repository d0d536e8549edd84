"""Files as rows: CSV and JSONL, streamed a line at a time, and spreadsheets."""

import csv
import io
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TextIO

import python_calamine as calamine

from voice.errors import Invalid
from voice.feedback.submission import clean_record
from voice.sources.encodings import Encoding, detect_encoding, named_encoding

Unit = Literal["bytes", "rows"]

DELIMITERS = ",;\t|"
MAX_CELL = 1 << 20
MAX_RECORD = 1 << 22
SAMPLE_ROWS = 1_000
# A broken quotation mark makes the lines after it be read twice; a file full of them must not take for ever.
MAX_RECOVERIES = 20
_SNIFFED = 1 << 16
_SNIFFED_RECORDS = 50
_MAX_DEPTH, _MAX_NESTING = 5, 20
_ENDINGS = {".csv": "csv", ".tsv": "csv", ".tab": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_OLE = b"\xd0\xcf\x11\xe0"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its filled cells by column, without what no database stores, or what is wrong with it.

    `line` is the line of the file where it starts (the row number in a spreadsheet), from 1; `position` is how much of
    the file was read by then, in the file's unit.
    """

    line: int
    position: int
    cells: dict[str, Any] | None
    fault: str = ""


class RowFile(Protocol):
    """A file of rows. `rows()` starts anew each time; `columns` are known before."""

    @property
    def kind(self) -> str: ...
    @property
    def unit(self) -> Unit: ...
    @property
    def size(self) -> int: ...
    @property
    def columns(self) -> Sequence[str]: ...
    @property
    def note(self) -> str: ...
    def rows(self) -> Iterator[Row]: ...


def open_file(
    path: Path, *, sheet: str | None = None, encoding: str | None = None, delimiter: str | None = None
) -> RowFile:
    """The rows of a CSV (any of `,` `;` tab `|`), JSONL or spreadsheet file, told apart by content, then by name.

    Raises Invalid when it cannot be read, saying what to do.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
        if head.startswith((b"PK\x03\x04", _OLE)):
            return SheetFile(path, sheet=sheet)
        if sheet is not None:
            raise Invalid.field("--sheet", f"{path.name} is not a spreadsheet")
        if not head.strip():
            raise Invalid(f"{path.name} is empty")
        if delimiter is not None and len(delimiter) != 1:
            raise Invalid.field(
                "--delimiter", "must be one character; a tab is written $'\\t' in most shells"
            )
        found = named_encoding(encoding) if encoding else detect_encoding(path)
        if _kind(path, head, found) == "jsonl":
            return JsonlFile(path, found)
        return CsvFile(path, found, delimiter=delimiter)
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror or error}") from None


def _kind(path: Path, head: bytes, encoding: Encoding) -> str:
    if kind := _ENDINGS.get(path.suffix.lower()):
        return kind
    start = head.decode(encoding.name, "ignore").lstrip("\ufeff \t\r\n")[:1]
    if start == "[" and path.suffix.lower() == ".json":
        raise Invalid(
            f"{path.name} is one JSON array; put one object on each line: jq -c '.[]' FILE > FILE.jsonl"
        )
    return "jsonl" if start == "{" else "csv"


def column_names(cells: Sequence[object]) -> list[str]:
    """Names for columns: trimmed, numbered where blank, told apart where repeated."""
    names: list[str] = []
    for number, cell in enumerate(cells, 1):
        name = " ".join(str(cell).replace("\0", "").split()) or f"column {number}"
        again = 2
        unique = name
        while unique in names:
            unique = f"{name} ({again})"
            again += 1
        names.append(unique)
    return names


def _is_blank(cell: object) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip()) or cell in ([], {})


def _filled(cells: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    # Wrapped, because `clean_record` would cut a column that is called text.
    cleaned: dict[str, Any] = clean_record({"cells": dict(cells)})[0]["cells"]
    return {name: cell for name, cell in cleaned.items() if not _is_blank(cell)}


def _read_line(file: TextIO) -> str:
    """The next line, but at most MAX_RECORD characters of it."""
    line = file.readline(MAX_RECORD)
    if len(line) == MAX_RECORD and line[-1] not in "\r\n":
        while (rest := file.readline(MAX_RECORD)) and rest[-1] not in "\r\n":
            pass
    return line


class _RecordTooLong(Exception):
    pass


class _Lines:
    """Lines that can be given back, so that a quotation mark without its pair spoils one line and not the rest."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._given_back: deque[str] = deque()
        self._record: list[str] = []
        self._length = 0
        self.number = 0
        self.ended = False

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._given_back.popleft() if self._given_back else _read_line(self._file)
        if not line:
            self.ended = True
            raise StopIteration
        self.number += 1
        self._length += len(line)
        self._record.append(line)
        if self._length >= MAX_RECORD:
            raise _RecordTooLong
        return line

    def begin_record(self) -> None:
        self._record, self._length = [], 0

    def give_back(self) -> None:
        """All lines of this record but its first."""
        again = self._record[1:]
        self._given_back.extendleft(reversed(again))
        self.number -= len(again)
        self.ended = False

    @property
    def in_record(self) -> int:
        return len(self._record)


def _csv_records(file: TextIO, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """Each record with the line where it starts: its cells, or what is wrong with it."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL))
    lines = _Lines(file)
    reader = csv.reader(lines, delimiter=delimiter)
    recoveries = 0
    while True:
        lines.begin_record()
        start = lines.number + 1
        try:
            cells: list[str] | None = next(reader)
        except StopIteration:
            return
        except (csv.Error, _RecordTooLong):
            cells = None
        # The csv module asks for a line beyond the last one in mid-record only when a quotation mark is still open.
        if cells is not None and not lines.ended:
            yield start, cells
            continue
        fault = f"opens a quotation mark that is never closed, or is longer than {MAX_CELL:,} characters"
        recoveries += 1
        if recoveries > MAX_RECOVERIES and lines.in_record > 1:
            yield start, f"{fault}; {lines.in_record - 1} lines after it were skipped"
        else:
            yield start, fault
            lines.give_back()
        reader = csv.reader(lines, delimiter=delimiter)


def sniff_delimiter(sample: str) -> str:
    """The delimiter that splits most records of the sample like its header; a comma when none splits the header."""

    def fit(delimiter: str) -> tuple[float, int]:
        reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
        records = list(islice((record for record in reader if any(record)), _SNIFFED_RECORDS))
        if not records or len(records[0]) < 2:
            return 0.0, 0
        whole = records[:-1] if len(records) > 2 else records
        width = len(records[0])
        return sum(len(record) == width for record in whole) / len(whole), width

    return max(DELIMITERS, key=fit)


class CsvFile:
    """A delimited text file with a header; a cell may hold line ends inside quotation marks."""

    kind: ClassVar[str] = "CSV"
    unit: ClassVar[Unit] = "bytes"

    def __init__(self, path: Path, encoding: Encoding, *, delimiter: str | None = None) -> None:
        self._path, self._encoding = path, encoding
        self.note = encoding.note
        self.size = path.stat().st_size
        with self._open() as file:
            self.delimiter = delimiter or sniff_delimiter(file.read(_SNIFFED))
        self.columns = self._header()

    def _open(self) -> TextIO:
        return self._path.open(encoding=self._encoding.name, errors="replace", newline="")

    def _header(self) -> list[str]:
        with self._open() as file:
            for _, cells in _csv_records(file, self.delimiter):
                if isinstance(cells, str):
                    raise Invalid(f"{self._path.name}: the header line {cells}")
                if not all(map(_is_blank, cells)):
                    return column_names([cell.removeprefix("\ufeff") for cell in cells])
        raise Invalid(f"{self._path.name} holds no rows")

    def rows(self) -> Iterator[Row]:
        """Rows below the header. Rows without any filled cell are left out."""
        width = len(self.columns)
        seen_header = False
        with self._open() as file:
            for line, cells in _csv_records(file, self.delimiter):
                position = file.buffer.tell()
                if isinstance(cells, str):
                    yield Row(line, position, None, cells)
                elif all(map(_is_blank, cells)):
                    continue
                elif not seen_header:
                    seen_header = True
                else:
                    yield self._row(line, position, cells, width)

    def _row(self, line: int, position: int, cells: list[str], width: int) -> Row:
        if width == 1:
            # A list of texts under one heading is often written without quotation marks.
            cells = [self.delimiter.join(cells)]
        while len(cells) > width and _is_blank(cells[-1]):
            cells.pop()
        if len(cells) != width:
            return Row(line, position, None, f"has {len(cells)} columns where the header has {width}")
        return Row(line, position, _filled(zip(self.columns, cells, strict=True)))


class JsonlFile:
    """One JSON object a line; nested objects become dotted columns, but for `metadata`."""

    kind: ClassVar[str] = "JSONL"
    unit: ClassVar[Unit] = "bytes"

    def __init__(self, path: Path, encoding: Encoding) -> None:
        self._path, self._encoding = path, encoding
        self.note = encoding.note
        self.size = path.stat().st_size
        self.columns = self._sampled_columns()

    def _open(self) -> TextIO:
        return self._path.open(encoding=self._encoding.name, errors="replace", newline="\n")

    def _sampled_columns(self) -> list[str]:
        sample = islice((row.cells for row in self.rows() if row.cells), SAMPLE_ROWS)
        if columns := list(dict.fromkeys(column for cells in sample for column in cells)):
            return columns
        fault = next((row for row in self.rows() if row.fault), None)
        why = "every object is empty" if fault is None else f"line {fault.line} {fault.fault}"
        raise Invalid(f"{self._path.name} holds no feedback: {why}")

    def rows(self) -> Iterator[Row]:
        """Rows in order; blank lines are left out."""
        with self._open() as file:
            number = 0
            while line := _read_line(file):
                number += 1
                if line.strip("\ufeff \t\r\n"):
                    yield _json_row(number, file.buffer.tell(), line.strip("\ufeff \t\r\n"))


def _json_row(number: int, position: int, line: str) -> Row:
    if len(line) >= MAX_RECORD:
        return Row(number, position, None, f"is longer than {MAX_RECORD:,} characters")
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return Row(number, position, None, f"is broken JSON: {error.msg} (column {error.colno})")
    except ValueError:
        return Row(number, position, None, "is broken JSON: a number has too many digits")
    except RecursionError:
        return Row(number, position, None, "is nested too deeply")
    if not isinstance(value, dict):
        return Row(number, position, None, "is not a JSON object")
    if _deeper_than(_MAX_NESTING, value):
        return Row(number, position, None, f"is nested deeper than {_MAX_NESTING} levels")
    return Row(number, position, _filled(_flattened(value)))


def _flattened(value: dict[str, Any], prefix: str = "", depth: int = 1) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        name = prefix + key
        if isinstance(item, dict) and name != "metadata" and depth < _MAX_DEPTH:
            yield from _flattened(item, f"{name}.", depth + 1)
        else:
            yield name, item


def _deeper_than(levels: int, value: Any) -> bool:
    if not isinstance(value, dict | list):
        return False
    return levels == 0 or any(
        _deeper_than(levels - 1, item) for item in (value.values() if isinstance(value, dict) else value)
    )


class SheetFile:
    """One sheet of a spreadsheet (.xlsx, .xlsm, .xlsb, .xls, .ods): the first, or the one named."""

    kind: ClassVar[str] = "spreadsheet"
    unit: ClassVar[Unit] = "rows"
    note: ClassVar[str] = ""

    def __init__(self, path: Path, *, sheet: str | None = None) -> None:
        self._sheet = _load_sheet(path, sheet)
        self.size = (self._sheet.end or (0, 0))[0] + 1
        header = next((cells for _, cells in self._rows()), None)
        if header is None:
            raise Invalid(f"{path.name}: the sheet {self._sheet.name!r} is empty; --sheet names another")
        self.columns = column_names(header)

    def _rows(self) -> Iterator[tuple[int, list[Any]]]:
        for number, cells in enumerate(self._sheet.iter_rows(), 1):
            if not all(map(_is_blank, cells)):
                yield number, cells

    def rows(self) -> Iterator[Row]:
        """Rows below the header. Rows without any filled cell are left out."""
        for number, cells in islice(self._rows(), 1, None):
            yield Row(number, number, _filled(zip(self.columns, cells, strict=True)))


def _load_sheet(path: Path, name: str | None) -> calamine.CalamineSheet:
    try:
        book = calamine.load_workbook(path)
        if not book.sheet_names:
            raise Invalid(f"{path.name} holds no sheet")
        return book.get_sheet_by_name(_first_shown(book) if name is None else name)
    except calamine.WorksheetNotFound:
        known = ", ".join(book.sheet_names)
        raise Invalid.field("--sheet", f"{path.name} has no sheet {name!r}; it has: {known}") from None
    except calamine.PasswordError:
        raise Invalid(f"{path.name} is protected by a password; save it without one") from None
    except (calamine.CalamineError, ValueError):
        raise Invalid(f"{path.name} is not a readable spreadsheet; save it again as .xlsx or CSV") from None


def _first_shown(book: calamine.CalamineWorkbook) -> str:
    shown = (
        sheet.name
        for sheet in book.sheets_metadata
        if sheet.typ is calamine.SheetTypeEnum.WorkSheet
        and sheet.visible is calamine.SheetVisibleEnum.Visible
    )
    return next(shown, book.sheet_names[0])
