"""The container files say what is true of the code: commands, queues, settings, users, health."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from voice.config import Settings
from voice.doorbell import QUEUES

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "voice"}
SECRETS = ("POSTGRES_PASSWORD", "VOICE_SECRET_KEY")


def test_the_roles_of_the_distributed_shape_are_there() -> None:
    assert set(OURS) == {"migrate", "api", "worker-analyse", "worker-background", "beat"}
    assert set(SERVICES) - set(OURS) == {"postgres", "redis"}


@pytest.mark.parametrize("name", OURS)
def test_a_command_begins_with_an_installed_script(name: str) -> None:
    assert (Path(sys.executable).parent / OURS[name]["command"][0]).is_file()


def test_every_queue_has_exactly_one_worker() -> None:
    commands = [service["command"] for service in OURS.values()]
    served = [queue for c in commands if "-Q" in c for queue in c[c.index("-Q") + 1].split(",")]
    assert sorted(served) == sorted(QUEUES)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_a_health_check_unless_it_runs_once(name: str) -> None:
    service = SERVICES[name]
    if service["restart"] == "no":
        assert service["healthcheck"] == {"disable": True}
    else:
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_runs_as_root(name: str) -> None:
    assert SERVICES[name]["user"].split(":")[0] not in ("", "0", "root")


def test_the_image_runs_as_the_user_that_compose_names() -> None:
    users = re.findall(r"^USER (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert users == [OURS["api"]["user"]]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_services_that_exist(name: str) -> None:
    for other, condition in SERVICES[name].get("depends_on", {}).items():
        runs_once = SERVICES[other]["restart"] == "no"
        assert condition["condition"] == (
            "service_completed_successfully" if runs_once else "service_healthy"
        )


@pytest.mark.parametrize("file", ["docker-compose.yml", "Dockerfile", ".env.example"])
def test_every_variable_is_a_setting(file: str) -> None:
    used = set(re.findall(r"\bVOICE_[A-Z_]+", (ROOT / file).read_text()))
    assert used
    assert used <= {f"VOICE_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_required_and_has_no_default(secret: str) -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    uses = re.findall(r"\$\{" + secret + r"(:[^}]*)?\}", text)
    assert uses
    assert all(use.startswith(":?") for use in uses)
    assert f"\n{secret}=\n" in (ROOT / ".env.example").read_text()


def test_every_variable_that_compose_asks_for_is_in_the_example() -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text()))
    offered = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert asked == offered


def test_nothing_but_the_api_is_published_and_that_on_this_machine_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:8000:8000"]}
