"""`voice project`, `voice key`, `voice dead`, `voice people`, `voice pipeline`: looking after an installation."""

import json
from typing import Annotated

import typer

from voice.accounts import create_key, create_project, find_project, list_keys, list_projects, revoke_key
from voice.cli.output import console, listing
from voice.clock import rfc3339
from voice.config import load_settings
from voice.feedback.claims import replay
from voice.people import allow, erase, export, find_people
from voice.runtime import FIRST_PROJECT, Runtime
from voice.search import FeedbackFilter, find_ids

ACTOR = "cli"
Project = Annotated[str, typer.Option(help="Slug of the project.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    projects = typer.Typer(no_args_is_help=True, help="Products that are listened to.")
    projects.command("create")(project_create)
    projects.command("list")(project_list)
    keys = typer.Typer(no_args_is_help=True, help="API keys.")
    keys.command("create")(key_create)
    keys.command("list")(key_list)
    keys.command("revoke")(key_revoke)
    dead = typer.Typer(no_args_is_help=True, help="Feedback whose analysis failed too often.")
    dead.command("list")(dead_list)
    dead.command("replay")(dead_replay)
    people = typer.Typer(no_args_is_help=True, help="What is kept of one person.")
    people.command("export")(people_export)
    people.command("erase")(people_erase)
    people.command("allow")(people_allow)
    app.add_typer(projects, name="project")
    app.add_typer(keys, name="key")
    app.add_typer(dead, name="dead")
    app.add_typer(people, name="people")
    app.command("pipeline")(pipeline)


def _runtime() -> Runtime:
    runtime = Runtime(load_settings())
    runtime.migrate()
    return runtime


def project_create(slug: str, name: Annotated[str, typer.Option(help="Shown name.")] = "") -> None:
    """Make a project."""
    runtime = _runtime()
    with runtime.database.write() as session:
        create_project(session, slug=slug, name=name or slug, actor=ACTOR, now=runtime.clock())
    runtime.migrate()
    console.print(f"project {slug} made; next: voice key create --role ingest --project {slug}")


def project_list() -> None:
    """Every project."""
    runtime = _runtime()
    with runtime.database.read() as session:
        for project in list_projects(session):
            typer.echo(f"{project.slug}\t{project.name}\t{rfc3339(project.created_at)}")


def key_create(
    role: Annotated[str, typer.Option(help="widget, ingest, viewer, triager or admin.")],
    project: Project = FIRST_PROJECT,
    name: Annotated[str, typer.Option(help="What it is for.")] = "made on the command line",
    origin: Annotated[list[str] | None, typer.Option(help="Web origins of a widget key.")] = None,
) -> None:
    """Make a key and print it, once."""
    runtime = _runtime()
    with runtime.database.write() as session:
        _, plain = create_key(
            session,
            project_id=find_project(session, project).id,
            role=role,
            name=name,
            origins=origin or [],
            actor=ACTOR,
            now=runtime.clock(),
        )
    console.print(plain)


def key_list(project: Project = FIRST_PROJECT) -> None:
    """Every key of a project, without its secret."""
    runtime = _runtime()
    table = listing("id", "role", "name", "prefix", "created", "revoked", "last used")
    with runtime.database.read() as session:
        for key in list_keys(session, find_project(session, project).id):
            shown = key.shown()
            moments = (shown["created_at"], shown["revoked_at"] or "", shown["last_used_at"] or "")
            table.add_row(key.id, key.role, key.name, key.prefix, *moments)
    console.print(table)


def key_revoke(key_id: str, project: Project = FIRST_PROJECT) -> None:
    """Refuse a key from now on."""
    runtime = _runtime()
    with runtime.database.write() as session:
        project_id = find_project(session, project).id
        revoke_key(session, project_id, key_id, actor=ACTOR, now=runtime.clock())
    console.print(f"key {key_id} revoked")


def dead_list(project: Project = FIRST_PROJECT) -> None:
    """Ids of dead feedback, newest first."""
    runtime = _runtime()
    with runtime.database.read() as session:
        project_id = find_project(session, project).id
        wanted = FeedbackFilter(status=("dead",))
        ids, _ = find_ids(session, project_id, wanted, query=None, cursor=None, limit=500)
    for feedback_id in ids:
        console.print(feedback_id)


def dead_replay(ids: list[str], project: Project = FIRST_PROJECT) -> None:
    """Try dead feedback again."""
    runtime = _runtime()
    with runtime.database.write() as session:
        project_id = find_project(session, project).id
        count = replay(session, project_id, ids, actor=ACTOR, now=runtime.clock())
    runtime.doorbell.ring("analyse")
    console.print(f"{count} put back")


AuthorId = Annotated[str | None, typer.Option(help="The author's id in your system.")]
Email = Annotated[str | None, typer.Option(help="The author's e-mail.")]


def people_export(author_id: AuthorId = None, email: Email = None, project: Project = FIRST_PROJECT) -> None:
    """What is kept of one person, as JSON."""
    runtime = _runtime()
    with runtime.database.write() as session:
        project_id = find_project(session, project).id
        people = find_people(session, runtime.secrets, project_id, author_id=author_id, email=email)
        found = export(session, runtime.secrets, project_id, people.ids, actor=ACTOR, now=runtime.clock())
    typer.echo(json.dumps(found, ensure_ascii=False, indent=2))


def people_erase(author_id: AuthorId = None, email: Email = None, project: Project = FIRST_PROJECT) -> None:
    """Erase one person and all they said, for good; prints the proof."""
    runtime = _runtime()
    with runtime.database.read() as session:
        project_id = find_project(session, project).id
    proof = erase(
        runtime.database,
        runtime.secrets,
        project_id,
        author_id=author_id,
        email=email,
        actor=ACTOR,
        clock=runtime.clock,
    )
    typer.echo(json.dumps(proof, indent=2))


def people_allow(author_id: AuthorId = None, email: Email = None, project: Project = FIRST_PROJECT) -> None:
    """Listen again to a person who was erased and asks to be heard."""
    runtime = _runtime()
    with runtime.database.write() as session:
        answer = allow(
            session,
            runtime.secrets,
            find_project(session, project).id,
            author_id=author_id,
            email=email,
            actor=ACTOR,
            now=runtime.clock(),
        )
    console.print("heard again" if answer["allowed"] else "was not suppressed")
    if answer["address_suppressed"]:
        console.print("what carries their e-mail is still refused; voice people allow --email lifts that")


def pipeline() -> None:
    """What happens to a piece of feedback, step by step."""
    from voice.pipeline import ON_ARRIVAL

    table = listing("step", "needs", "gives", "what it does")
    for step in ON_ARRIVAL:
        about = (step.run.__doc__ or "").splitlines()[0]
        table.add_row(step.run.__name__, ", ".join(step.needs), step.gives, about)
    console.print(table)
