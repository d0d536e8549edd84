"""`voice themes`, `voice models`: looking at themes, clustering again, checking what is shipped."""

from typing import Annotated

import typer

from voice.accounts import find_project
from voice.analysis.models import catalogue, verified
from voice.cli.administration import Project
from voice.cli.output import console, listing
from voice.clock import parse_rfc3339
from voice.config import load_settings
from voice.errors import Invalid
from voice.ids import known_form
from voice.runtime import FIRST_PROJECT, Runtime
from voice.themes.ledger import find_theme
from voice.themes.queries import ThemeFilter, list_themes, view_theme


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    themes = typer.Typer(no_args_is_help=True, help="Themes of a project.")
    themes.command("list")(themes_list)
    themes.command("show")(themes_show)
    themes.command("recluster")(themes_recluster)
    models = typer.Typer(no_args_is_help=True, help="The models that are shipped.")
    models.command("list")(models_list)
    models.command("verify")(models_verify)
    app.add_typer(themes, name="themes")
    app.add_typer(models, name="models")


def themes_list(project: Project = FIRST_PROJECT) -> None:
    """Themes by people affected."""
    runtime = Runtime(load_settings())
    runtime.migrate()
    with runtime.database.read() as session:
        project_id = find_project(session, project).id
        found = list_themes(session, project_id, ThemeFilter(), sort="impact", as_of=runtime.clock())
    table = listing("id", "name", "people", "items", "status", "emerging")
    for theme in found:
        numbers = (str(theme["people"]), str(theme["size"]))
        table.add_row(
            theme["id"], theme["name"], *numbers, theme["status"], "yes" if theme["emerging"] else ""
        )
    console.print(table)


def themes_show(theme_id: str, project: Project = FIRST_PROJECT) -> None:
    """One theme with its quotes."""
    runtime = Runtime(load_settings())
    runtime.migrate()
    with runtime.database.read() as session:
        project_id = find_project(session, project).id
        theme = find_theme(session, project_id, known_form(theme_id, what="theme"))
        shown = view_theme(session, theme, as_of=runtime.clock())
    typer.echo(f"{shown['name']}  ({shown['people']} people, {shown['size']} items, {shown['status']})")
    typer.echo("keywords: " + ", ".join(shown["keywords"]))
    for quote in shown["quotes"]:
        typer.echo(f"  “{quote['text']}”")


def themes_recluster(
    project: Project = FIRST_PROJECT,
    as_of: Annotated[str | None, typer.Option(help="RFC 3339; now when not given.")] = None,
    wait: Annotated[bool, typer.Option(help="Return when done; --no-wait leaves it to a worker.")] = True,
) -> None:
    """Discover themes now and test emergence."""
    runtime = Runtime(load_settings())
    runtime.migrate()
    with runtime.database.read() as session:
        project_id = find_project(session, project).id
    if not wait:
        runtime.doorbell.ring("evaluate", project=project_id, **({"as_of": as_of} if as_of else {}))
        console.print("asked for")
        return
    try:
        moment = parse_rfc3339(as_of) if as_of else runtime.clock()
    except ValueError as error:
        raise Invalid.field("--as-of", str(error)) from None
    done = runtime.evaluate(project_id, as_of=moment)
    console.print(
        f"{done.items} items, {done.born} new themes, {done.moved} items moved, {done.emerging} emerging"
    )


def models_list() -> None:
    """Every model of the catalogue."""
    table = listing("name", "version", "task", "licence", "sha256")
    for model in catalogue().values():
        table.add_row(model.name, model.version, model.task, model.licence, model.sha256[:16])
    console.print(table)


def models_verify() -> None:
    """Check the files of every model against the catalogue."""
    for name in catalogue():
        verified(name)
        console.print(f"{name}: ok")
