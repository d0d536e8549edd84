"""Write the pages that are made from the code: `python docs/generate.py`.

docs/operate/settings.md comes from `voice.config.Settings`, docs/use/cli.md from the command line itself. A test
fails while a page says something else than the code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from voice.cli import app
from voice.config import Settings

DOCS = Path(__file__).resolve().parent
SETTINGS_PAGE = DOCS / "operate" / "settings.md"
CLI_PAGE = DOCS / "use" / "cli.md"

_GROUPS = {
    "place": "Where it runs",
    "secrets": "Secrets",
    "models": "Models",
    "privacy": "Privacy",
    "work": "Analysis of arrivals",
    "themes": "Themes",
    "limits": "Limits",
}

_SETTINGS_HEAD = """\
# Settings

<!-- Made by docs/generate.py from src/voice/config.py: change the descriptions there. -->

Every setting is an environment variable. A file named `.env` in the working folder is read too; the environment
wins. Each has a default, and the defaults run everything on one machine. Every verb of the command line, every
worker and the API read the same ones; change them everywhere at once and restart.

Lists are written with commas: `VOICE_TRUSTED_PROXIES=10.0.0.0/8,192.0.2.7`. An unknown variable is ignored; a value
that cannot be read stops the process with one line that names the variable.
"""

_CLI_HEAD = """\
# Command line

<!-- Made by docs/generate.py from src/voice/cli: change the help texts there. -->

`./voice VERB` in a checkout, `voice VERB` where the package is installed; both are the same program. Every verb reads
the same [settings](../operate/settings.md) as the service, so point it at the same data with `VOICE_DATA_DIR` or
`VOICE_DATABASE_URL`. A verb that fails prints one line and ends with exit code 1, unless its entry says otherwise.
"""


def settings_page() -> str:
    """docs/operate/settings.md as the settings are now. Raises KeyError for a group without a title."""
    groups: dict[str, list[str]] = {group: [] for group in _GROUPS}
    for name, field in Settings.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        described = _cell(field.description or "")
        row = f"| `VOICE_{name.upper()}` | {_type(field)} | {_default(field)} | {described} |"
        groups[str(extra["group"])].append(row)
    parts = [_SETTINGS_HEAD]
    for group, rows in groups.items():
        if rows:
            table = ["| variable | value | default | meaning |", "|---|---|---|---|", *rows]
            parts.append(f"## {_GROUPS[group]}\n\n" + "\n".join(table) + "\n")
    return "\n".join(parts)


def _type(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    if get_origin(annotation) is tuple:
        return "list"
    if choices := get_args(annotation):
        return ", ".join(f"`{choice}`" for choice in choices if choice is not type(None))
    return {
        "int": "whole number",
        "str": "text",
        "float": "number",
        "bool": "`true`, `false`",
        "Path": "folder",
        "SecretStr": "secret",
    }[annotation.__name__]


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if hasattr(value, "get_secret_value"):
        value = value.get_secret_value()
    shown = ",".join(value) if isinstance(value, tuple) else str(value)
    return f"`{shown}`" if shown else "empty"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def cli_page() -> str:
    """docs/use/cli.md as the verbs are now."""
    root = typer.main.get_command(app)
    parts = [_CLI_HEAD]
    for name, command in verbs(root):
        parts.append(_verb(name, command))
    return "\n".join(parts)


def verbs(command: Any, path: str = "voice") -> list[tuple[str, Any]]:
    """Every verb under a command, as (`voice themes list`, the command), groups left out."""
    found = []
    for name, child in command.commands.items():
        full = f"{path} {name}"
        found += verbs(child, full) if hasattr(child, "commands") else [(full, child)]
    return found


def _verb(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join([name, *(_metavar(a) for a in arguments), *(["[OPTIONS]"] if options else [])])
    lines = [f"## `{name}`", "", " ".join((command.help or "").split()), "", f"    {usage}", ""]
    if options:
        lines += ["| option | default | meaning |", "|---|---|---|"]
        lines += [_option(option) for option in options]
        lines.append("")
    return "\n".join(lines)


def _metavar(argument: Any) -> str:
    shown = str(argument.metavar or argument.name.upper())
    return f"{shown}…" if argument.nargs == -1 else shown


def _option(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    if option.required:
        default = "required"
    elif option.secondary_opts and option.default is not None:
        default = f"`{(option.opts if option.default else option.secondary_opts)[0]}`"
    elif option.default in (None, "", (), [], False):
        default = ""
    else:
        default = f"`{option.default}`"
    return f"| {names} | {default} | {_cell(option.help or '')} |"


def main() -> None:
    """Write both pages."""
    for page, text in ((SETTINGS_PAGE, settings_page()), (CLI_PAGE, cli_page())):
        page.write_text(text, encoding="utf-8")
        print(page.relative_to(DOCS.parent))


if __name__ == "__main__":
    main()
