"""The arrival rhythm: steps fit together, ratings skip the models, and what people said stays on top."""

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from tests.conftest import first_project
from tests.fakes import FakeAnalyser
from tests.recount import assert_exact
from voice.accounts import create_project
from voice.analysis.results import topics_of
from voice.analysis.topic_editing import create_topic, edit_topic, find_topic, list_topics
from voice.analysis.vectors import pack
from voice.clock import utc_now
from voice.corrections import correct
from voice.db.tables import ANALYSED, CLAIMED, PENDING, Analysis, Correction, Event, Feedback, Theme
from voice.errors import Conflict, Invalid
from voice.feedback.claims import REOPENED
from voice.feedback.submission import Submission
from voice.pipeline import ON_ARRIVAL, Batch, Pipeline, preview_topics
from voice.runtime import Runtime
from voice.themes import ledger
from voice.undo import undo_event


class Place:
    """An installation with a pipeline on the stand-in models."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.database = runtime.database
        self.analyser = FakeAnalyser()
        self.project = first_project(runtime)
        self.pipeline = Pipeline(
            self.database, self.analyser, utc_now, batch_size=128, lease_seconds=60, max_attempts=5
        )

    def post(self, project: str | None = None, **given: Any) -> str:
        project = project or self.project
        arrival = self.runtime.intake.prepare(project, Submission(**given), now=utc_now())
        with self.database.write() as session:
            [stored] = self.runtime.intake.store(session, [arrival], now=utc_now())
        return stored.id

    def analysed(self, **given: Any) -> str:
        feedback_id = self.post(**given)
        self.pipeline.drain()
        return feedback_id

    def another_model(self) -> None:
        self.analyser.salt += 1
        with self.database.write() as session:
            session.execute(update(Feedback).values(**REOPENED))
        self.pipeline.drain()

    def analysis(self, feedback_id: str) -> Analysis:
        with self.database.read() as session:
            return session.get_one(Analysis, feedback_id)

    def topics(self, feedback_id: str) -> set[str]:
        with self.database.read() as session:
            return set(topics_of(session, feedback_id))

    def correct(self, feedback_id: str, **changes: Any) -> int | None:
        with self.database.write() as session:
            return correct(session, self.project, feedback_id, changes, actor="ada", now=utc_now())

    def undo(self, event_id: int | None) -> None:
        with self.database.write() as session:
            undo_event(session, session.get_one(Event, event_id), actor="ada", now=utc_now())

    def theme(self, words: str) -> str:
        values = {"project_id": self.project, "name": words, "encoder": "fake", "algorithm": "test"}
        values |= {"centroid": pack(self.analyser.embed([words])[0]), "threshold": 0.5}
        with self.database.write() as session:
            made = ledger.create(
                session, values, kind="theme.discovered", actor="t", now=utc_now(), as_of=utc_now()
            )
        return made.id


@pytest.fixture
def place(runtime: Runtime) -> Place:
    return Place(runtime)


@pytest.fixture
def small(sqlite_runtime: Runtime) -> Place:
    """The same on SQLite alone, for what does not depend on the database."""
    return Place(sqlite_runtime)


def test_every_step_needs_only_what_was_given_before() -> None:
    known = {field.name for field in fields(Batch)}
    given = {"rows", "spaces", "themes"}  # what a claim and its preparation bring
    for step in ON_ARRIVAL:
        assert set(step.needs) <= given
        assert step.gives in known - given
        given.add(step.gives)
    assert given == known


def test_every_step_says_what_it_does() -> None:
    assert all((step.run.__doc__ or "").strip() for step in ON_ARRIVAL)


def test_a_rating_without_words_is_counted_and_skips_the_models(place: Place) -> None:
    rated = place.post(rating=9.0, rating_scale="nps", language="de")
    said = place.post(text="negative words")
    assert place.pipeline.drain() == 2
    assert place.analyser.calls == [["negative words"]]
    analysis = place.analysis(rated)
    assert (analysis.sentiment, analysis.intent, analysis.embedding, analysis.model) == (
        None,
        None,
        None,
        "none",
    )
    assert analysis.language == "de"
    assert place.analysis(said).sentiment == "negative"
    assert_exact(place.database, place.project)


def test_results_say_which_models_made_them(small: Place) -> None:
    analysis = small.analysis(small.analysed(text="positive words"))
    assert (analysis.model, analysis.encoder) == ("fake-0", "fake")
    assert analysis.counted is not None


def test_a_batch_of_two_projects_is_read_with_each_taxonomy(small: Place) -> None:
    with small.database.write() as session:
        other = create_project(session, slug="other", name="Other", actor="t", now=utc_now()).id
        given = {"id": "only", "name": "Only", "description": "x", "examples": []}
        create_topic(session, other, given, actor="t", now=utc_now())
    ids = {
        small.post(project=project, text=f"text {n}"): project
        for n in range(20)
        for project in (small.project, other)
    }
    assert small.pipeline.drain() == 40
    found = {
        project: set().union(*(small.topics(i) for i, p in ids.items() if p == project))
        for project in set(ids.values())
    }
    assert found[other] == {"only"}
    assert "only" not in found[small.project]
    assert found[small.project]
    with small.database.read() as session:
        events = session.scalars(select(Event).where(Event.kind == "feedback.analysed")).all()
    assert sorted((event.project_id, event.after["n"]) for event in events) == sorted(
        [(small.project, 20), (other, 20)]
    )


def test_a_known_theme_takes_what_lies_near_and_leaves_the_rest(small: Place) -> None:
    theme = small.theme("checkout fails")
    near, far = small.post(text="checkout fails again"), small.post(text="nice colours")
    small.pipeline.drain()
    assert small.analysis(near).theme_id == theme
    assert small.analysis(near).theme_score == pytest.approx(0.8, abs=0.2)
    assert small.analysis(far).theme_id is None


def test_a_text_without_words_joins_no_theme(small: Place) -> None:
    small.theme("checkout fails")
    assert small.analysis(small.analysed(text="...")).theme_id is None


def test_corrections_outrank_a_later_model(place: Place) -> None:
    theme = place.theme("elsewhere")
    feedback_id = place.analysed(text="negative words")
    topic = sorted({t.id for t in _topics(place)} - place.topics(feedback_id))[0]
    place.correct(
        feedback_id, sentiment="positive", intent="praise", urgency="critical", topics=[topic], theme=theme
    )
    for _ in range(3):
        place.another_model()
        analysis = place.analysis(feedback_id)
        assert (analysis.sentiment, analysis.intent, analysis.urgency) == ("positive", "praise", "critical")
        assert (analysis.score, analysis.confidence, analysis.unsure) == (10_000, 1.0, False)
        assert (analysis.theme_id, analysis.theme_by) == (theme, "person")
        assert place.topics(feedback_id) == {topic}
        assert analysis.model == f"fake-{place.analyser.salt}"
    assert_exact(place.database, place.project)


def _topics(place: Place) -> list[Any]:
    with place.database.read() as session:
        return list_topics(session, place.project)


def test_a_correction_outlives_other_words_too(place: Place) -> None:
    feedback_id = place.analysed(text="negative words", external_id="7")
    place.correct(feedback_id, sentiment="neutral")
    place.analysed(text="positive words", external_id="7")
    assert place.analysis(feedback_id).sentiment == "neutral"


def test_the_newest_correction_stands(small: Place) -> None:
    feedback_id = small.analysed(text="negative words")
    small.correct(feedback_id, sentiment="neutral")
    small.correct(feedback_id, sentiment="positive")
    small.another_model()
    assert small.analysis(feedback_id).sentiment == "positive"
    with small.database.read() as session:
        kept = session.scalars(select(Correction).order_by(Correction.id)).all()
    assert [one.model_said["value"] for one in kept] == ["negative", "neutral"]
    assert [one.person_says["value"] for one in kept] == ["neutral", "positive"]


def test_the_same_again_is_no_correction(small: Place) -> None:
    feedback_id = small.analysed(text="negative words")
    assert small.correct(feedback_id, sentiment="negative") is None
    assert small.correct(feedback_id, topics=sorted(small.topics(feedback_id))) is None


def test_undoing_a_correction_brings_the_model_back(place: Place) -> None:
    feedback_id = place.analysed(text="negative words")
    before = (
        place.analysis(feedback_id).sentiment,
        place.analysis(feedback_id).score,
        place.topics(feedback_id),
    )
    event = place.correct(feedback_id, sentiment="positive", topics=[])
    place.undo(event)
    after = (
        place.analysis(feedback_id).sentiment,
        place.analysis(feedback_id).score,
        place.topics(feedback_id),
    )
    assert after == before
    assert_exact(place.database, place.project)
    with pytest.raises(Conflict):
        place.undo(event)


def test_undoing_after_other_words_came_lets_the_model_read_those(place: Place) -> None:
    feedback_id = place.analysed(text="negative words", external_id="7")
    event = place.correct(feedback_id, sentiment="neutral")
    place.analysed(text="positive words", external_id="7")
    place.undo(event)
    place.pipeline.drain()
    assert place.analysis(feedback_id).sentiment == "positive"
    assert_exact(place.database, place.project)


def test_what_was_corrected_again_is_not_undone_below(small: Place) -> None:
    feedback_id = small.analysed(text="negative words")
    first = small.correct(feedback_id, sentiment="neutral")
    small.correct(feedback_id, sentiment="positive")
    with pytest.raises(Conflict, match="sentiment"):
        small.undo(first)


def test_a_move_outranks_an_earlier_correction_of_the_theme(place: Place) -> None:
    first, second = place.theme("checkout"), place.theme("login")
    feedback_id = place.analysed(text="elsewhere")
    place.correct(feedback_id, theme=first)
    with place.database.write() as session:
        theme, into = session.get_one(Theme, first), session.get_one(Theme, second)
        ledger.move(session, theme, [feedback_id], into, actor="ada", now=utc_now())
    place.another_model()
    assert place.analysis(feedback_id).theme_id == second


def test_a_row_that_waits_cannot_be_corrected(small: Place) -> None:
    feedback_id = small.post(text="words")
    with pytest.raises(Conflict):
        small.correct(feedback_id, sentiment="neutral")


def test_what_was_never_said_has_no_sentiment_to_correct(small: Place) -> None:
    feedback_id = small.analysed(rating=1.0, rating_scale="stars")
    with pytest.raises(Invalid):
        small.correct(feedback_id, sentiment="neutral")
    theme = small.theme("stars")
    small.correct(feedback_id, theme=theme)
    assert small.analysis(feedback_id).theme_id == theme


def test_an_edited_taxonomy_reaches_stored_feedback_but_not_what_people_said(place: Place) -> None:
    words = "unicorn stable"
    said, kept = place.analysed(text=words), place.analysed(text=f"{words} two")
    place.correct(kept, topics=[])
    with place.database.write() as session:
        given = {"id": "unicorns", "name": "Unicorns", "description": words, "examples": [words]}
        create_topic(session, place.project, given, actor="t", now=utc_now())
    moved, looked_at = preview_topics(place.database, place.analyser, place.project, place_definitions(place))
    assert looked_at == 1
    assert place.pipeline.retopic(place.project) == moved == 1
    assert "unicorns" in place.topics(said)
    assert place.topics(kept) == set()
    assert_exact(place.database, place.project)
    with place.database.write() as session:
        topic = find_topic(session, place.project, "unicorns")
        edit_topic(session, topic, {"archived": True}, version=None, actor="t", now=utc_now())
    place.pipeline.retopic(place.project)
    assert "unicorns" not in place.topics(said)
    assert_exact(place.database, place.project)


def place_definitions(place: Place) -> Any:
    return place.pipeline.topic_space(place.project).definitions


def test_trouble_with_the_database_is_no_fault_of_the_rows(
    small: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    feedback_id = small.post(text="words")

    def gone(*_: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("gone"))

    monkeypatch.setattr(small.pipeline, "_prepare", gone)
    with pytest.raises(OperationalError):
        small.pipeline.step()
    with small.database.read() as session:
        row = session.get_one(Feedback, feedback_id)
    assert (row.status, row.attempts, row.alone) == (CLAIMED, 0, False)


def test_the_status_goes_from_waiting_to_analysed(small: Place) -> None:
    feedback_id = small.post(text="words", created_at=datetime(2026, 1, 1, tzinfo=UTC))
    with small.database.read() as session:
        assert session.get_one(Feedback, feedback_id).status == PENDING
    assert small.pipeline.step() == 1
    assert small.pipeline.step() is None
    with small.database.read() as session:
        assert session.get_one(Feedback, feedback_id).status == ANALYSED
