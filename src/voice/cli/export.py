"""`voice export`: feedback as a file."""

import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from sqlalchemy.orm import Session

from voice.accounts import find_project
from voice.cli.administration import ACTOR, Project
from voice.clock import parse_rfc3339
from voice.config import load_settings
from voice.errors import Invalid
from voice.exports import Export, stream
from voice.runtime import FIRST_PROJECT, Runtime
from voice.search import FeedbackFilter
from voice.search.filters import STATUSES
from voice.search.tabular import Format
from voice.themes.ledger import family

FILTERS = sorted({field.name for field in fields(FeedbackFilter)} - {"start", "end"} | {"from", "to"})


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("export")(export)


def export(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where to; - is the standard output.")] = "-",
    project: Project = FIRST_PROJECT,
    format: Annotated[Format, typer.Option(help="What it is written as.")] = "csv",
    filter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help=f"Only what passes, such as sentiment=negative; the same name again means or. "
            f"Names: {', '.join(FILTERS)}.",
        ),
    ] = None,
    q: Annotated[str | None, typer.Option(help="Only what holds every one of these words.")] = None,
    authors: Annotated[bool, typer.Option("--authors", help="With who said it.")] = False,
    bom: Annotated[
        bool, typer.Option("--bom", help="Begin a CSV with a byte-order mark, for Excel.")
    ] = False,
) -> None:
    """Write feedback as CSV, formulas neutralised, or JSONL, the newest arrival first. A file is whole or not there."""
    runtime = Runtime(load_settings())
    runtime.migrate()
    with runtime.database.read() as session:
        project_id = find_project(session, project).id
        wanted = _wanted(session, project_id, filter or ())
    asked = Export(project_id, wanted, query=q, format=format, authors=authors, bom=bom)
    with _output(file) as out:
        for part in stream(runtime.database, runtime.secrets, asked, actor=ACTOR, clock=runtime.clock):
            out.write(part)
    runtime.close()


def _wanted(session: Session, project_id: str, given: Sequence[str]) -> FeedbackFilter:
    values: dict[str, list[str]] = defaultdict(list)
    for one in given:
        name, equals, value = one.partition("=")
        if name not in FILTERS or not equals or not value:
            raise Invalid.field("--filter", f"must be NAME=VALUE, with a name of {', '.join(FILTERS)}")
        values[name].append(value)
    if unknown := set(values["status"]) - set(STATUSES):
        raise Invalid.field("--filter", f"status={min(unknown)}: must be pending, analysed or dead")
    wanted: dict[str, Any] = {}
    for name, field in (("from", "start"), ("to", "end")):
        if found := values.pop(name, None):
            try:
                wanted[field] = parse_rfc3339(found[-1])
            except ValueError as error:
                raise Invalid.field("--filter", f"{name}: {error}") from None
    if "theme" in values:
        values["theme"] = list(family(session, project_id, values["theme"]))
    return FeedbackFilter(**wanted | {name: tuple(found) for name, found in values.items()})


@contextmanager
def _output(file: str) -> Iterator[BinaryIO]:
    """The standard output, or a file that appears under its name only when all of it was written, for its owner alone."""
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(file)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as out:
        partial = Path(out.name)
        try:
            yield out  # type: ignore[misc]
            out.flush()
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
