"""What verbs print: lines and tables that a pipe gets whole and a narrow terminal breaks elsewhere than in ids."""

import sys

from rich.console import Console
from rich.table import Table

_UNBOUNDED = 10_000

console = Console(
    highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else _UNBOUNDED
)


def listing(*headings: str) -> Table:
    """A table whose first column is never cut, since people copy it into the next command."""
    table = Table(*headings, box=None)
    table.columns[0].no_wrap = True
    return table
