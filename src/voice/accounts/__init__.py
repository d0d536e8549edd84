"""Projects, API keys, roles, and the secrets derived from the root secret."""

from voice.accounts.keys import (
    ROLES,
    KeyView,
    Principal,
    Role,
    authenticate,
    create_key,
    list_keys,
    may,
    note_use,
    revoke_key,
)
from voice.accounts.projects import create_project, ensure_project, find_project, list_projects
from voice.accounts.secrets import Secrets
from voice.accounts.vault import fill as fill_vault
from voice.accounts.vault import installed_secrets

__all__ = [
    "ROLES",
    "KeyView",
    "Principal",
    "Role",
    "Secrets",
    "authenticate",
    "create_key",
    "create_project",
    "ensure_project",
    "fill_vault",
    "find_project",
    "installed_secrets",
    "list_keys",
    "list_projects",
    "may",
    "note_use",
    "revoke_key",
]
