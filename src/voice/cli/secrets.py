"""`voice secrets`: which root secret seals what, and its rotation."""

import typer

from voice.accounts.roots import KeyFile
from voice.accounts.rotation import census, rotate
from voice.cli.output import console, listing
from voice.config import load_settings
from voice.errors import ConfigurationError
from voice.runtime import Runtime


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    verbs = typer.Typer(
        no_args_is_help=True, help="Root secrets: what is sealed under which, and their rotation."
    )
    verbs.command("status")(status)
    verbs.command("rotate")(rotate_secrets)
    app.add_typer(verbs, name="secrets")


def status() -> None:
    """How many rows are sealed under which root secret. Roots are shown by a name, never themselves."""
    runtime = Runtime(load_settings())
    ring = runtime.secrets.ring
    counts = census(runtime.database, ring)
    table = listing("root", "", *counts)
    places = ["newest", *["older"] * (len(ring.roots()) - 1)]
    for root, place in zip(ring.roots(), places, strict=True):
        table.add_row(root.name, place, *(str(one[root.name]) for one in counts.values()))
    if any(one[None] for one in counts.values()):
        table.add_row("none", "not known here", *(str(one[None]) for one in counts.values()))
    console.print(table)
    runtime.check_secrets()
    console.print(f"hashing keys: {runtime.secrets.fingerprint()}")


def rotate_secrets() -> None:
    """Seal everything anew under the newest root secret. Embedded: make a new one first, and drop the older ones after.

    May be stopped at any point and run again; the service may run meanwhile.
    """
    runtime = Runtime(load_settings())
    runtime.migrate()
    ring = runtime.secrets.ring
    given = not isinstance(ring.source, KeyFile)
    if given and len(ring.roots()) == 1:
        raise ConfigurationError(
            "VOICE_SECRET_KEY_OLD: is empty, so there is nothing to rotate; set VOICE_SECRET_KEY to a new root secret "
            "(openssl rand -hex 32) and VOICE_SECRET_KEY_OLD to the present one, restart every process, run this again"
        )
    done = rotate(runtime.database, ring, actor="cli", now=runtime.clock())
    newest, *older = done.roots
    console.print(f"{done.resealed} rows sealed anew; everything is sealed under {newest}")
    if done.unreadable:
        console.print(
            f"{done.unreadable} rows open under no root secret known here; they were left as they are"
        )
    if given:
        console.print("when every process has the new VOICE_SECRET_KEY, VOICE_SECRET_KEY_OLD may be emptied")
    else:
        console.print(
            f"copy secret.key to a safe place; backups made before open under {', '.join(older)} alone"
        )
