"""What webhooks deliver is taken for its signature alone: every way to forge, alter or repeat one is refused."""

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import func, select

from tests.api.helpers import post, refused, serving
from tests.conftest import make_runtime, new_key
from tests.webhooks import signature, signed
from voice.clock import utc_now
from voice.db.tables import Event, Feedback, Source, WebhookDelivery
from voice.runtime import Runtime
from voice.sources.signatures import STANDARD, BadSignatureError, verify
from workers import tasks

BODY = b'{"text": "It was charged twice", "external_id": "W-1"}'
# Published with the libraries of Standard Webhooks.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
VECTOR = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
VECTOR_BODY = b'{"test": 2432232314}'
VECTOR_TIME = datetime.fromtimestamp(1614265330, UTC)


class Shop:
    """A webhook source and its sender."""

    def __init__(self, client: TestClient, **given: Any) -> None:
        made = client.post(
            "/v1/sources",
            json={"kind": "webhook", "slug": f"shop-{uuid4().hex[:8]}", "channel": "review"} | given,
        )
        assert made.status_code == 201, made.text
        self.shown = made.json()
        self.client, self.secret = client, self.shown["secret"]
        self.path = f"/v1/hooks/{self.shown['id']}"

    def send(self, body: bytes = BODY, headers: dict[str, str] | None = None) -> Response:
        """Send as a vendor does: without a key."""
        sent = self.client.build_request(
            "POST", self.path, content=body, headers=signed(self.secret, body) if headers is None else headers
        )
        del sent.headers["Authorization"]
        return self.client.send(sent)


@pytest.fixture
def shop(api: TestClient) -> Shop:
    return Shop(api)


def stored(runtime: Runtime, shop: Shop) -> int:
    with runtime.database.read() as session:
        mine = Feedback.source_id == shop.shown["id"]
        return session.scalar(select(func.count()).select_from(Feedback).where(mine)) or 0


def test_published_vector() -> None:
    assert verify(STANDARD, VECTOR, VECTOR_BODY, [SECRET], now=VECTOR_TIME) == VECTOR["webhook-id"]
    assert (
        signature(SECRET, VECTOR["webhook-id"], VECTOR["webhook-timestamp"], VECTOR_BODY)
        == (VECTOR["webhook-signature"])
    )


def test_one_of_several_signatures_and_secrets() -> None:
    others = "v1a,bm9uZQ== v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1,AAAA "
    headers = VECTOR | {"webhook-signature": others + VECTOR["webhook-signature"]}
    other = "whsec_" + base64.b64encode(bytes(32)).decode()
    assert verify(STANDARD, headers, VECTOR_BODY, [other, SECRET], now=VECTOR_TIME)
    with pytest.raises(BadSignatureError):
        verify(
            STANDARD, VECTOR | {"webhook-signature": others.strip()}, VECTOR_BODY, [SECRET], now=VECTOR_TIME
        )


@pytest.mark.parametrize(
    ("seconds", "taken"), [(-301, False), (-300, True), (0, True), (300, True), (301, False), (86_400, False)]
)
def test_tolerance(seconds: int, taken: bool) -> None:
    now = VECTOR_TIME + timedelta(seconds=seconds)
    if taken:
        assert verify(STANDARD, VECTOR, VECTOR_BODY, [SECRET], now=now)
    else:
        with pytest.raises(BadSignatureError):
            verify(STANDARD, VECTOR, VECTOR_BODY, [SECRET], now=now)


def test_every_altered_byte_is_noticed() -> None:
    for position in range(len(VECTOR_BODY)):
        body = bytearray(VECTOR_BODY)
        body[position] ^= 1
        with pytest.raises(BadSignatureError):
            verify(STANDARD, VECTOR, bytes(body), [SECRET], now=VECTOR_TIME)
    for name, value in VECTOR.items():
        for position in range(len(value)):
            altered = value[:position] + chr(ord(value[position]) ^ 1) + value[position + 1 :]
            with pytest.raises(BadSignatureError):
                verify(STANDARD, VECTOR | {name: altered}, VECTOR_BODY, [SECRET], now=VECTOR_TIME)


def test_without_a_secret_nothing_is_valid() -> None:
    with pytest.raises(BadSignatureError):
        verify(STANDARD, VECTOR, VECTOR_BODY, [], now=VECTOR_TIME)


def test_what_is_signed_cannot_be_divided_otherwise() -> None:
    """`a.1` + `2` + body and `a` + `1` + `2.body` are signed alike, so an id may hold no full stop."""
    seconds = VECTOR["webhook-timestamp"]
    headers = {
        "webhook-id": f"a.{seconds}",
        "webhook-timestamp": seconds,
        "webhook-signature": signature(SECRET, "a", seconds, seconds.encode() + b'.{"text": "x"}'),
    }
    assert headers["webhook-signature"] == signature(SECRET, f"a.{seconds}", seconds, b'{"text": "x"}')
    with pytest.raises(BadSignatureError):
        verify(STANDARD, headers, b'{"text": "x"}', [SECRET], now=VECTOR_TIME)


def test_a_delivery_is_stored_and_redacted(installation: Runtime, shop: Shop) -> None:
    answer = shop.send(b'{"text": "Write to ann@example.com", "rating": 1, "rating_scale": "stars"}')
    assert answer.status_code == 202, answer.text
    [accepted] = answer.json()["feedback"]
    assert (answer.json()["outcome"], accepted["outcome"]) == ("accepted", "stored")
    with installation.database.read() as session:
        row = session.get_one(Feedback, accepted["id"])
    assert (row.text, row.channel, row.source_id) == ("Write to [email]", "review", shop.shown["id"])
    assert row.sent_by == f"source:{shop.shown['id']}"


def test_many_items(installation: Runtime, shop: Shop) -> None:
    items = [{"text": f"item {n}", "external_id": str(n), "channel": "chat"} for n in range(500)]
    answer = shop.send(json.dumps({"items": items}).encode())
    assert answer.status_code == 202, answer.text
    assert len({one["id"] for one in answer.json()["feedback"]}) == 500
    again = shop.send(json.dumps({"items": items[:2]}).encode())
    assert [one["outcome"] for one in again.json()["feedback"]] == ["duplicate"] * 2
    assert stored(installation, shop) == 500


def test_a_repeated_delivery_stores_nothing(installation: Runtime, shop: Shop) -> None:
    body = b'{"text": "no id of its own"}'
    headers = signed(shop.secret, body)
    assert shop.send(body, headers).status_code == 202
    for _ in range(2):
        again = shop.send(body, headers)
        assert (again.status_code, again.json()) == (200, {"outcome": "duplicate delivery", "feedback": []})
    later = signed(shop.secret, body, delivery_id=headers["webhook-id"], at=utc_now() + timedelta(seconds=60))
    assert shop.send(body, later).status_code == 200
    assert stored(installation, shop) == 1


def test_the_same_delivery_many_times_at_once(installation: Runtime, shop: Shop) -> None:
    body = b'{"text": "raced"}'
    headers = signed(shop.secret, body)
    with ThreadPoolExecutor(8) as pool:
        found = sorted(
            answer.status_code for answer in pool.map(lambda _: shop.send(body, headers), range(24))
        )
    assert found == [200] * 23 + [202]
    assert stored(installation, shop) == 1


def test_ids_of_deliveries_are_the_sources_own(api: TestClient, shop: Shop) -> None:
    other = Shop(api)
    for one in (shop, other):
        assert one.send(headers=signed(one.secret, BODY, delivery_id="msg_1")).status_code == 202


def test_a_delivery_with_a_fault_stores_nothing_and_may_come_again(installation: Runtime, shop: Shop) -> None:
    body = b'{"items": [{"text": "good"}, {"text": ""}, {"text": "x", "colour": 1}, 7, {"text": "y", "source": "z"}]}'
    answer = refused(
        shop.send(body, signed(shop.secret, body, delivery_id="msg_f")),
        422,
        "items.1.text",
        "items.2.colour",
        "items.3.",
        "items.4.source",
    )
    assert "good" not in json.dumps(answer)
    assert stored(installation, shop) == 0
    good = b'{"items": [{"text": "good"}]}'
    assert shop.send(good, signed(shop.secret, good, delivery_id="msg_f")).status_code == 202


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b'{"items": []}',
        b'{"items": {}}',
        b'{"items": [{"text": "x"}], "more": 1}',
        b'{"text": NaN}',
        b'{"items": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"text": "\xff"}',
        json.dumps({"items": [{"text": "x"}] * 501}).encode(),
        b'{"text": "a\\u0000b"}',
    ],
    ids=lambda body: body[:20].decode("latin-1") or "empty",
)
def test_bodies_that_are_none(installation: Runtime, shop: Shop, body: bytes) -> None:
    refused(shop.send(body), 422)
    assert stored(installation, shop) == 0


def forgeries(shop: Shop, other: Shop) -> Iterator[tuple[str, bytes, dict[str, str]]]:
    good = signed(shop.secret, BODY)
    for name in good:
        yield f"without {name}", BODY, {k: v for k, v in good.items() if k != name}
        yield f"empty {name}", BODY, good | {name: ""}
        yield f"nonsense in {name}", BODY, good | {name: "x.y,z v1,"}
    yield "nothing at all", BODY, {}
    yield "altered body", BODY + b" ", good
    yield "another source's secret", BODY, signed(other.secret, BODY)
    yield "another id", BODY, good | {"webhook-id": "msg_other"}
    yield "another moment", BODY, good | {"webhook-timestamp": str(int(good["webhook-timestamp"]) + 1)}
    yield "old", BODY, signed(shop.secret, BODY, at=utc_now() - timedelta(minutes=6))
    yield "from the future", BODY, signed(shop.secret, BODY, at=utc_now() + timedelta(minutes=6))
    yield "no version", BODY, good | {"webhook-signature": good["webhook-signature"][3:]}
    yield "asymmetric version", BODY, good | {"webhook-signature": "v1a" + good["webhook-signature"][2:]}
    yield "long timestamp", BODY, good | {"webhook-timestamp": "9" * 5_000}
    yield "digits of another script", BODY, good | {"webhook-timestamp": "١٢٣"}
    yield "negative", BODY, good | {"webhook-timestamp": "-1"}
    yield "empty secret", BODY, signed("whsec_", BODY)


def test_forgeries_are_refused_alike(installation: Runtime, api: TestClient, shop: Shop) -> None:
    answers = set()
    for name, body, headers in forgeries(shop, Shop(api)):
        raw = {key: value.encode() for key, value in headers.items()}
        answer = shop.send(body, raw)  # type: ignore[arg-type]
        refused(answer, 401)
        answers.add(answer.text)
        assert shop.secret not in answer.text, name
    for unknown in ("0" * 26, "x", "%00", shop.shown["id"].upper(), shop.shown["id"] + "0"):
        unsent = api.build_request(
            "POST", f"/v1/hooks/{unknown}", content=BODY, headers=signed(shop.secret, BODY)
        )
        del unsent.headers["Authorization"]
        answer = api.send(unsent)
        refused(answer, 401)
        answers.add(answer.text)
    assert len(answers) == 1  # nobody learns whether the source exists, nor what was wrong
    assert stored(installation, shop) == 0
    assert shop.send().status_code == 202


def test_a_key_does_not_stand_for_a_signature(api: TestClient, shop: Shop) -> None:
    refused(api.post(shop.path, content=BODY), 401)


def test_a_source_without_a_secret_takes_nothing(installation: Runtime, api: TestClient) -> None:
    post(api, "made by feedback", source="plain")
    [plain] = [one for one in api.get("/v1/sources").json()["items"] if one["slug"] == "plain"]
    assert (plain["kind"], plain["address"]) == (None, None)
    headers = signed("whsec_" + base64.b64encode(b"").decode(), BODY)
    refused(api.post(f"/v1/hooks/{plain['id']}", content=BODY, headers=headers), 401)
    refused(api.post(f"/v1/sources/{plain['id']}/rotate", json={}), 404)


def test_the_secret_is_shown_once_and_kept_sealed(installation: Runtime, api: TestClient, shop: Shop) -> None:
    assert shop.secret.startswith("whsec_")
    assert len(base64.b64decode(shop.secret.removeprefix("whsec_"), validate=True)) == 32
    for path in ("/v1/sources", "/v1/audit?limit=500"):
        assert shop.secret not in api.get(path).text
        assert shop.shown["slug"] in api.get(path).text
    with installation.database.read() as session:
        sealed = session.get_one(Source, shop.shown["id"]).secret
        events = session.scalars(select(Event).where(Event.subject_id == shop.shown["id"])).all()
    assert sealed is not None
    assert shop.secret.encode() not in sealed
    assert [(event.kind, event.after["kind"]) for event in events] == [("source.created", "webhook")]


def test_ids_of_sources_cannot_be_guessed(api: TestClient) -> None:
    ids = {Shop(api).shown["id"] for _ in range(20)}
    assert len(ids) == 20
    assert len({one[:4] for one in ids}) > 15  # no common time in front, as other ids have


def test_rotation(
    installation: Runtime, api: TestClient, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shop.secret
    second = api.post(f"/v1/sources/{shop.shown['id']}/rotate", json={}).json()["secret"]
    assert first != second
    for secret in (first, second):
        assert shop.send(headers=signed(secret, BODY)).status_code == 202
    day_after = utc_now() + timedelta(hours=24, minutes=1)
    monkeypatch.setattr(installation, "clock", lambda: day_after)
    refused(shop.send(headers=signed(first, BODY, at=day_after)), 401)
    assert shop.send(headers=signed(second, BODY, at=day_after)).status_code == 202


def test_rotation_at_once(api: TestClient, shop: Shop) -> None:
    asked = {"grace_hours": 0}
    second = api.post(f"/v1/sources/{shop.shown['id']}/rotate", json=asked).json()["secret"]
    refused(shop.send(), 401)
    assert shop.send(headers=signed(second, BODY)).status_code == 202


def test_a_later_rotation_prolongs_no_secret(
    installation: Runtime, api: TestClient, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotate = f"/v1/sources/{shop.shown['id']}/rotate"
    api.post(rotate, json={"grace_hours": 1})
    api.post(rotate, json={"grace_hours": 24})
    later = utc_now() + timedelta(hours=2)
    monkeypatch.setattr(installation, "clock", lambda: later)
    refused(shop.send(headers=signed(shop.secret, BODY, at=later)), 401)


def test_a_taken_slug(api: TestClient, shop: Shop) -> None:
    given = {"kind": "webhook", "slug": shop.shown["slug"], "channel": "review"}
    refused(api.post("/v1/sources", json=given), 409)
    refused(api.post("/v1/sources", json=given | {"kind": "zendesk"}), 422, "kind")


def test_deliveries_are_forgotten(installation: Runtime, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "runtime", lambda: installation)
    with installation.database.write() as session:
        for hours in (71, 73):
            at = installation.clock() - timedelta(hours=hours)
            session.add(WebhookDelivery(source_id=shop.shown["id"], delivery_id=f"{hours}", at=at))
    tasks.tidy()
    with installation.database.read() as session:
        mine = WebhookDelivery.source_id == shop.shown["id"]
        assert session.scalars(select(WebhookDelivery.delivery_id).where(mine)).all() == ["71"]


def test_limits(sqlite_url: str, tmp_path: Any, fake_models: None) -> None:
    runtime = make_runtime(sqlite_url, tmp_path, ingest_per_minute=3, refused_per_minute=5)
    with serving(runtime, new_key(runtime, "admin")) as client:
        shop, other = Shop(client), Shop(client)
        assert [shop.send().status_code for _ in range(4)] == [202] * 3 + [429]
        assert other.send().status_code == 202
        forged = signed(other.secret, b"another body")
        assert [other.send(headers=forged).status_code for _ in range(6)] == [401] * 5 + [429]
        assert other.send().status_code == 202  # who guesses uses up no limit but their own
    runtime.close()
