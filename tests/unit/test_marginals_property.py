"""Any history of intake, analysis, corrections, theme edits, undo and erasure leaves the trends exactly right."""

import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import select, update

from tests.fakes import FakeAnalyser
from tests.recount import assert_exact
from voice.accounts import create_project
from voice.analysis.topic_editing import create_topic, list_topics
from voice.analysis.vectors import pack
from voice.corrections import correct
from voice.db.dialects import CHUNK
from voice.db.session import Database
from voice.db.tables import ANALYSED, Analysis, Event, Feedback, Theme
from voice.errors import Conflict, Invalid
from voice.feedback.claims import REOPENED
from voice.feedback.submission import RATING_RANGES, Author, Submission
from voice.people import allow, erase, feedback_of
from voice.pipeline import Pipeline
from voice.removal import remove_feedback
from voice.runtime import Runtime
from voice.themes import ledger
from voice.undo import undo_event

THOROUGH = os.environ.get("CI") == "true"
EXAMPLES, STEPS = (60, 50) if THOROUGH else (8, 40)

NOW = datetime.now(UTC).replace(microsecond=0)
UNDOABLE = ("feedback.corrected", *ledger._UNDOERS)
LABELS = ("negative", "neutral", "positive")
numbers = count()

texts = st.sampled_from(
    [
        "checkout fails again",
        "checkout slow",
        "login loops",
        "login code missing",
        "nice export",
        "export broken",
    ]
)
ratings = st.one_of(
    st.none(),
    st.sampled_from(sorted(RATING_RANGES)).flatmap(
        lambda scale: st.tuples(st.just(scale), st.integers(*map(int, RATING_RANGES[scale])))
    ),
)
submissions = st.builds(
    lambda text, rating, **rest: Submission(
        text=text if text or rating else "empty",
        rating=float(rating[1]) if rating else None,
        rating_scale=rating[0] if rating else None,
        **rest,
    ),
    st.none() | texts,
    ratings,
    source=st.sampled_from(["shop", "app"]),
    channel=st.sampled_from(["review", "survey"]),
    external_id=st.none() | st.sampled_from("abcdef"),
    response_id=st.none() | st.sampled_from("rs"),
    author=st.builds(
        Author,
        id=st.none() | st.sampled_from(["ada", "bob"]),
        email=st.none() | st.sampled_from(["eve@example.com", "ada@example.com"]),
        segment=st.none() | st.sampled_from(["free", "paid"]),
    ),
    version=st.none() | st.sampled_from(["1.0", "2.0"]),
    language=st.none() | st.just("fr"),
    created_at=st.sampled_from([NOW - timedelta(hours=h) for h in (1, 2, 30)]),
)
corrections = st.one_of(
    st.fixed_dictionaries({"sentiment": st.sampled_from(LABELS)}),
    st.fixed_dictionaries({"intent": st.sampled_from(["question", "praise"]), "urgency": st.just("low")}),
    st.fixed_dictionaries({"topics": st.sets(st.integers(0, 3), max_size=3)}),
    st.fixed_dictionaries({"theme": st.none() | st.integers(0, 9)}),
)
pick = st.integers(0, 9)
some = st.sets(pick, min_size=1, max_size=4)


class Histories(RuleBasedStateMachine):
    """One project per history. Rows that wait for analysis may be corrected, moved, merged over and erased too."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self.runtime = runtime
        self.database: Database = runtime.database
        self.analyser = FakeAnalyser()
        self.pipeline = Pipeline(
            self.database, self.analyser, self.now, batch_size=3, lease_seconds=60, max_attempts=5
        )
        self.ticks = count()
        with self.database.write() as session:
            number = next(numbers)
            project = create_project(session, slug=f"p{number}", name="x", actor="test", now=NOW)
            self.project_id = project.id
            for topic in range(4):
                given = {
                    "id": f"t{topic}",
                    "name": f"Topic {topic}",
                    "description": f"topic{topic}",
                    "examples": [],
                }
                create_topic(session, self.project_id, given, actor="test", now=NOW)

    def now(self) -> datetime:
        return NOW + timedelta(seconds=next(self.ticks))

    def ids(self) -> list[str]:
        with self.database.read() as session:
            mine = select(Analysis.feedback_id).where(Analysis.project_id == self.project_id)
            return list(session.scalars(mine.order_by(Analysis.feedback_id)))

    def live(self) -> list[str]:
        with self.database.read() as session:
            mine = select(Theme.id).where(Theme.project_id == self.project_id, Theme.merged_into.is_(None))
            return list(session.scalars(mine.order_by(Theme.id)))

    @initialize(given=st.lists(submissions, min_size=4, max_size=8))
    def begin(self, given: list[Submission]) -> None:
        for word in ("checkout", "login"):
            self.discover_theme(word)
        self.accept(given)
        self.pipeline.drain()

    @rule(given=st.lists(submissions, min_size=1, max_size=3))
    def accept(self, given: list[Submission]) -> None:
        arrivals = [self.runtime.intake.prepare(self.project_id, one, now=self.now()) for one in given]
        with self.database.write() as session:
            self.runtime.intake.store(session, arrivals, now=self.now())

    @rule()
    def analyse_one_batch(self) -> None:
        self.pipeline.step()

    @rule()
    def analyse_everything(self) -> None:
        placed = self.placed_by_people()
        self.pipeline.drain()
        still = self.placed_by_people()
        assert {i: still.get(i) for i in placed} == placed, "a model moved what a person had placed"
        assert_exact(self.database, self.project_id)

    def placed_by_people(self) -> dict[str, str | None]:
        with self.database.read() as session:
            mine = (Analysis.project_id == self.project_id, Analysis.theme_by == "person")
            return dict(session.execute(select(Analysis.feedback_id, Analysis.theme_id).where(*mine)).all())

    @rule()
    def another_model_reads_all_again(self) -> None:
        self.analyser.salt += 1
        done = (Feedback.project_id == self.project_id, Feedback.status == ANALYSED)
        with self.database.write() as session:
            session.execute(update(Feedback).where(*done).values(**REOPENED))

    @rule()
    def discover_another_theme(self) -> None:
        self.discover_theme("export")

    def discover_theme(self, word: str) -> None:
        values = {
            "project_id": self.project_id,
            "name": word,
            "encoder": self.analyser.encoder_name,
            "algorithm": "test",
            "centroid": pack(self.analyser.embed([word])[0]),
            "threshold": 0.4,
        }
        with self.database.write() as session:
            now = self.now()
            ledger.create(session, values, kind="theme.discovered", actor="themes", now=now, as_of=now)

    @rule(which=pick, changes=corrections)
    @precondition(lambda self: self.ids())
    def correct(self, which: int, changes: dict) -> None:
        ids, live = self.ids(), self.live()
        if "topics" in changes:
            changes = {"topics": sorted(f"t{n}" for n in changes["topics"])}
        if changes.get("theme") is not None:
            changes = {"theme": live[changes["theme"] % len(live)] if live else None}
        with suppress(Invalid), self.database.write() as session:  # a rating without words has no sentiment
            correct(session, self.project_id, ids[which % len(ids)], changes, actor="person", now=self.now())

    @rule(which=pick, into=pick, by_machine=st.booleans())
    @precondition(lambda self: len(self.live()) > 1)
    def merge(self, which: int, into: int, by_machine: bool) -> None:
        live = self.live()
        one = live.pop(which % len(live))
        with self.database.write() as session:
            first = ledger.find_theme(session, self.project_id, one)
            second = ledger.find_theme(session, self.project_id, live[into % len(live)])
            ledger.merge(session, first, second, actor="x", now=self.now(), by_machine=by_machine)

    def members(self, theme_id: str, chosen: set[int]) -> list[str]:
        with self.database.read() as session:
            inside = ledger.family(session, self.project_id, [theme_id])
            found = session.scalars(select(Analysis.feedback_id).where(Analysis.theme_id.in_(inside)))
            members = sorted(found)
        return sorted({members[n % len(members)] for n in chosen}) if members else []

    @rule(which=pick, chosen=some)
    @precondition(lambda self: self.live())
    def split(self, which: int, chosen: set[int]) -> None:
        live = self.live()
        theme_id = live[which % len(live)]
        with suppress(Invalid), self.database.write() as session:  # a theme without members
            theme = ledger.find_theme(session, self.project_id, theme_id)
            values = {
                "project_id": self.project_id,
                "name": "part",
                "encoder": "fake",
                "algorithm": "person",
                "pinned": True,
                "threshold": 0.5,
            }
            ledger.split(
                session, theme, self.members(theme_id, chosen), values, actor="person", now=self.now()
            )

    @rule(which=pick, into=st.none() | pick, chosen=some)
    @precondition(lambda self: self.live())
    def move(self, which: int, into: int | None, chosen: set[int]) -> None:
        live = self.live()
        theme_id = live[which % len(live)]
        with suppress(Invalid), self.database.write() as session:
            theme = ledger.find_theme(session, self.project_id, theme_id)
            target = None
            if into is not None:
                target = ledger.find_theme(session, self.project_id, live[into % len(live)])
            ledger.move(
                session, theme, self.members(theme_id, chosen), target, actor="person", now=self.now()
            )

    @rule(which=pick)
    def undo(self, which: int) -> None:
        with self.database.read() as session:
            mine = (Event.project_id == self.project_id, Event.kind.in_(UNDOABLE))
            events = list(session.scalars(select(Event.id).where(*mine).order_by(Event.id)))
        if not events:
            return
        with suppress(Conflict), self.database.write() as session:
            event = session.get_one(Event, events[which % len(events)])
            undo_event(session, event, actor="person", now=self.now())

    @rule(
        author=st.sampled_from([{"author_id": "ada"}, {"author_id": "bob"}, {"email": "eve@example.com"}]),
        heard_again=st.booleans(),
    )
    def erase(self, author: dict[str, str], heard_again: bool) -> None:
        who = {"author_id": None, "email": None, "actor": "person"} | author
        erase(self.database, self.runtime.secrets, self.project_id, clock=self.now, **who)
        if heard_again:
            with self.database.write() as session:
                allow(session, self.runtime.secrets, self.project_id, now=self.now(), **who)

    @rule()
    def retopic(self) -> None:
        with self.database.write() as session:
            topic = list_topics(session, self.project_id)[0]
            topic.description = f"{topic.description} again"
        self.pipeline.retopic(self.project_id)

    def teardown(self) -> None:
        self.analyse_everything()
        with self.database.read() as session:
            authors = set(
                session.scalars(select(Feedback.person_id).where(Feedback.project_id == self.project_id))
            )
            ids = feedback_of(session, self.project_id, [one for one in authors if one is not None])
        for start in range(0, len(ids), CHUNK):
            with self.database.write() as session:
                remove_feedback(session, self.project_id, ids[start : start + CHUNK])
        self.analyse_everything()


@pytest.mark.timeout(900)  # time to find the shortest history when one fails
def test_the_trends_are_exact_after_any_history(runtime: Runtime) -> None:
    run_state_machine_as_test(
        lambda: Histories(runtime),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
