"""POST /v1/feedback: what is accepted, how it is stored, and what happens when it comes again."""

from datetime import UTC, datetime, timedelta

from fastapi.testclient import TestClient

from tests.api.helpers import analysed, ids_of, items, other_project, post
from tests.conftest import first_project
from tests.recount import assert_exact
from voice.clock import rfc3339
from voice.db.session import Database
from voice.runtime import Runtime

EVERYTHING = {
    "text": "Charged twice at checkout",
    "title": "Double charge",
    "channel": "review",
    "source": "play-store",
    "external_id": "r-1",
    "response_id": "s-1",
    "thread_id": "t-1",
    "author": {"id": "u-1", "name": "Ada", "email": "ada@example.com", "account": "acme", "segment": "pro"},
    "rating": 2,
    "rating_scale": "stars",
    "created_at": "2026-05-04T13:30:00+02:00",
    "url": "https://example.com/reviews/1",
    "version": "2.1.0",
    "language": "en-GB",
    "tags": ["billing", "urgent"],
    "metadata": {"device": "pixel", "nested": {"n": [1, 2.5, None, True]}},
}


def test_stored(client: TestClient) -> None:
    answer = client.post("/v1/feedback", json={"text": "Charged twice"})
    assert answer.status_code == 202
    assert set(answer.json()) == {"id", "outcome"}
    assert answer.json()["outcome"] == "stored"
    assert len(answer.json()["id"]) == 26


def test_durable_when_answered(client: TestClient, runtime: Runtime) -> None:
    [feedback_id] = post(client, "Charged twice")
    other = Database(runtime.settings.database)
    with other.read() as session:
        rows = session.connection().exec_driver_sql("SELECT id, text FROM feedback").all()
    other.dispose()
    assert [tuple(row) for row in rows] == [(feedback_id, "Charged twice")]


def test_every_field_comes_back(client: TestClient) -> None:
    assert client.post("/v1/feedback", json=EVERYTHING).status_code == 202
    [item] = items(client)
    same = set(EVERYTHING) - {"author", "created_at", "language"}
    assert {name: item[name] for name in same} == {name: EVERYTHING[name] for name in same}
    assert item["author"] == {"id": "u-1", "name": "Ada", "account": "acme", "segment": "pro"}
    assert (item["segment"], item["language"]) == ("pro", "en")
    assert item["created_at"] == "2026-05-04T11:30:00Z"
    assert (item["status"], item["analysis"], item["theme"]) == ("pending", None, None)


def test_defaults(sqlite_client: TestClient) -> None:
    before = datetime.now(UTC)
    post(sqlite_client, "x")
    [item] = items(sqlite_client)
    assert (item["channel"], item["source"]) == ("api", "api")
    assert before <= datetime.fromisoformat(item["created_at"]) <= datetime.now(UTC)
    empty = (
        "external_id",
        "response_id",
        "thread_id",
        "title",
        "author",
        "rating",
        "rating_scale",
        "version",
    )
    assert [item[name] for name in empty] == [None] * len(empty)
    assert (item["tags"], item["metadata"], item["truncated"]) == ([], {}, False)


def test_nulls_mean_not_given(sqlite_client: TestClient) -> None:
    given = {"text": "x"} | dict.fromkeys(set(EVERYTHING) - {"text"})
    assert sqlite_client.post("/v1/feedback", json=given).status_code == 202
    [item] = items(sqlite_client)
    assert (item["channel"], item["source"], item["tags"]) == ("api", "api", [])


def test_a_source_is_made_on_first_use(sqlite_client: TestClient) -> None:
    post(sqlite_client, "a", "b", source="play-store", channel="review")
    post(sqlite_client, "c", channel="survey")
    events = sqlite_client.get("/v1/audit", params={"kind": "source.created"}).json()["items"]
    assert sorted(event["after"]["slug"] for event in events) == ["play-store", "survey"]
    assert {item["source"] for item in items(sqlite_client)} == {"play-store", "survey"}


def test_a_rating_alone_is_enough_and_has_no_words(client: TestClient, runtime: Runtime) -> None:
    answer = client.post("/v1/feedback", json={"rating": 0, "rating_scale": "nps"})
    assert answer.status_code == 202
    runtime.pipeline.drain()
    [item] = items(client)
    assert (item["text"], item["rating"], item["rating_scale"]) == (None, 0, "nps")
    assert (item["status"], item["analysis"]) == ("analysed", None)
    assert_exact(runtime.database, first_project(runtime))


def test_same_external_id_and_content_is_a_duplicate(client: TestClient) -> None:
    first = client.post("/v1/feedback", json=EVERYTHING).json()
    again = client.post("/v1/feedback", json=EVERYTHING).json()
    assert again == {"id": first["id"], "outcome": "duplicate"}
    assert len(items(client)) == 1


def test_order_of_keys_does_not_matter_to_a_duplicate(sqlite_client: TestClient) -> None:
    sqlite_client.post("/v1/feedback", json=EVERYTHING)
    shuffled = dict(reversed(EVERYTHING.items()))
    assert sqlite_client.post("/v1/feedback", json=shuffled).json()["outcome"] == "duplicate"


def test_changed_content_updates_and_is_analysed_again(client: TestClient, runtime: Runtime) -> None:
    project_id = first_project(runtime)
    old = {"external_id": "e", "source": "shop", "version": "1", "author": {"segment": "free"}}
    new = old | {"version": "2", "author": {"segment": "pro"}, "rating": 5, "rating_scale": "csat"}
    [feedback_id] = analysed(client, runtime, "negative checkout", **old)
    answer = client.post("/v1/feedback", json={"text": "positive checkout", **new}).json()
    assert answer == {"id": feedback_id, "outcome": "updated"}
    assert items(client)[0]["status"] == "pending"
    assert runtime.pipeline.drain() == 1
    [item] = items(client)
    assert (item["text"], item["version"], item["segment"]) == ("positive checkout", "2", "pro")
    assert item["analysis"]["sentiment"]["label"] == "positive"
    assert_exact(runtime.database, project_id)
    trend = client.get("/v1/trends", params={"by": "version"}).json()["series"]
    assert [(series["value"], sum(p["n"] for p in series["points"])) for series in trend] == [("2", 1)]


def test_updated_to_a_rating_without_words(client: TestClient, runtime: Runtime) -> None:
    analysed(client, runtime, "negative checkout", external_id="e")
    answer = client.post("/v1/feedback", json={"external_id": "e", "rating": 1, "rating_scale": "csat"})
    assert answer.json()["outcome"] == "updated"
    runtime.pipeline.drain()
    [item] = items(client)
    assert (item["text"], item["analysis"], item["rating"]) == (None, None, 1)
    assert_exact(runtime.database, first_project(runtime))


def test_external_ids_belong_to_one_source_of_one_project(client: TestClient, runtime: Runtime) -> None:
    ids = post(client, "a", external_id="e") + post(client, "b", external_id="e", source="other")
    theirs = {"Authorization": f"Bearer {other_project(runtime)}"}
    body = {"text": "c", "external_id": "e"}
    answer = client.post("/v1/feedback", json=body, headers=theirs).json()
    assert answer["outcome"] == "stored"
    assert ids_of(client) == set(ids)
    assert len(set(ids) | {answer["id"]}) == 3


def rated(client: TestClient, rating: int | None, external_id: str, **more: object) -> str:
    body = {"external_id": external_id, "response_id": "r", "text": f"answer {external_id}", **more}
    body |= {} if rating is None else {"rating": rating, "rating_scale": "csat"}
    answer = client.post("/v1/feedback", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def mean_rating(client: TestClient, runtime: Runtime) -> tuple[int, float | None]:
    """n and mean of the ratings in the trends, which must be exact."""
    runtime.pipeline.drain()
    assert_exact(runtime.database, first_project(runtime))
    now = runtime.clock()
    params = {"metric": "rating", "interval": "week", "from": rfc3339(now - timedelta(days=1))}
    [series] = client.get("/v1/trends", params=params).json()["series"]
    found = [(point["n"], point["value"]) for point in series["points"] if point["n"]]
    n = sum(n for n, _ in found)
    return n, sum(n * value for n, value in found) / n if n else None


def test_a_response_counts_its_rating_once(client: TestClient, runtime: Runtime) -> None:
    for number in range(3):
        rated(client, 4, f"q{number}")
    assert mean_rating(client, runtime) == (1, 4.0)
    assert len(items(client)) == 3


def test_the_rating_survives_its_holder_moving_to_another_response(
    client: TestClient, runtime: Runtime
) -> None:
    rated(client, 5, "q1")
    rated(client, 3, "q2")
    assert mean_rating(client, runtime) == (1, 5.0)
    rated(client, 5, "q1", response_id="another")
    assert mean_rating(client, runtime) == (2, 4.0)


def test_the_rating_survives_its_holder_losing_it(client: TestClient, runtime: Runtime) -> None:
    rated(client, 5, "q1")
    rated(client, 3, "q2")
    mean_rating(client, runtime)
    rated(client, None, "q1")
    assert mean_rating(client, runtime) == (1, 3.0)
    rated(client, None, "q2")
    assert mean_rating(client, runtime) == (0, None)


def test_the_rating_survives_its_holder_being_erased(client: TestClient, runtime: Runtime) -> None:
    rated(client, 5, "q1", author={"id": "ada"})
    rated(client, 3, "q2", author={"id": "bob"})
    assert mean_rating(client, runtime) == (1, 5.0)
    assert client.post("/v1/people/erase", json={"author_id": "ada"}).json()["feedback"] == 1
    assert mean_rating(client, runtime) == (1, 3.0)


def test_responses_of_two_sources_are_two(client: TestClient, runtime: Runtime) -> None:
    rated(client, 5, "q1")
    rated(client, 3, "q1", source="other")
    assert mean_rating(client, runtime) == (2, 4.0)
