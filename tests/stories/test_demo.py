"""`voice demo`, whole: it gets ready, and what was planted in the launch comes out as themes that people can name."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stories.installations import Embedded, until

TRUTH = Path(__file__).parents[1] / "data" / "demo_truth.jsonl"
PURE = 0.6
DEMO_S = 600.0


def planted() -> dict[str, str]:
    rows = (json.loads(line) for line in TRUTH.read_text().splitlines())
    return {row["external_id"]: row["label"] for row in rows}


def members(client: httpx.Client, theme: str) -> list[dict[str, Any]]:
    answer = client.get("/v1/feedback", params={"theme": theme, "limit": 500}).raise_for_status().json()
    return list(answer["items"])


@pytest.mark.slow
@pytest.mark.timeout(DEMO_S + 60)
def test_the_demo_shows_what_was_planted(tmp_path: Path) -> None:
    installation = Embedded(tmp_path)
    installation.env.pop("VOICE_EVALUATE_SECONDS")
    installation.spawn("voice", "demo")
    try:
        until(
            lambda: "ready  http" in "".join(installation.logs().values()), "the demo is ready", within=DEMO_S
        )
        with installation.client() as client:
            themes = client.get("/v1/themes", params={"limit": 100}).raise_for_status().json()["items"]
            truth = planted()
            labels = {
                theme["id"]: Counter(
                    truth.get(item["external_id"], "?") for item in members(client, theme["id"])
                )
                for theme in themes
            }
            emerged = client.get("/v1/audit", params={"kind": "theme.emerged", "limit": 100}).json()["items"]
    finally:
        installation.stop()
    main = {theme_id: found.most_common(1)[0] for theme_id, found in labels.items()}
    pure = {
        label
        for theme_id, (label, n) in main.items()
        if n >= PURE * sum(labels[theme_id].values()) and label != "misc"
    }
    assert len(pure) >= 8, (
        f"themes by planted label: { {t['name']: labels[t['id']].most_common(2) for t in themes} }"
    )
    assert len({theme["name"].casefold() for theme in themes}) == len(themes)
    flagged = {main[event["subject_id"]][0] for event in emerged if event["subject_id"] in main}
    assert {"double_charge", "recurring_vanish"} <= flagged
    assert "contrast_sidebar" not in flagged, "one loud author is not many people"
