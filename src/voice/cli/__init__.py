"""The command line: every verb that people and containers type."""

import sys
from typing import NoReturn

import typer
from sqlalchemy.exc import SQLAlchemyError

from voice.cli import administration, backup, check, export, importing, secrets, serving, themes
from voice.errors import VoiceError
from voice.logs import configure_logs

app = typer.Typer(
    name="voice",
    help="What hurts your users after a launch, how many, whether it is getting worse, and when hypercare may end.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for part in (serving, importing, export, administration, backup, secrets, check, themes):
    part.register(app)


def main() -> None:
    """Run a verb; what goes wrong on purpose, with the database or with a file is one line and exit code 1."""
    configure_logs("WARNING", process="cli")
    try:
        app()
    except VoiceError as error:
        _give_up(error.detail)
    except SQLAlchemyError as error:
        # The first line alone: those that follow may quote a row.
        _give_up(f"the database: {str(getattr(error, 'orig', None) or error).splitlines()[0]}")
    except OSError as error:
        _give_up(str(error))


def _give_up(reason: str) -> NoReturn:
    print(f"voice: {reason}", file=sys.stderr)
    raise SystemExit(1) from None
