"""Any order of merges, splits, moves, edits and undos: one live theme per item, aliases of one hop, exact undo."""

import os
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import select

from tests.fakes import FakeAnalyser
from tests.recount import assert_exact
from voice.accounts import create_project
from voice.clock import utc_now
from voice.db.tables import Analysis, Event, Theme
from voice.errors import Conflict, Moved
from voice.feedback.submission import Submission
from voice.pipeline import Pipeline
from voice.runtime import Runtime
from voice.themes import ledger

THOROUGH = os.environ.get("CI") == "true"
BOUNDS = settings(
    max_examples=80 if THOROUGH else 12,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
ITEMS, THEMES = 6, 3
FAILING_S = 900
"""Time to find the shortest history when one fails."""
projects = count()
pick = st.integers(0, 9)
some = st.sets(pick, min_size=1, max_size=3)


Place = tuple[str | None, str]


class Ledger:
    """A project with six items in three themes, and what people may do to it; every act gives its event's id."""

    def __init__(self, runtime: Runtime) -> None:
        self.database = runtime.database
        with self.database.write() as session:
            project = create_project(session, slug=f"p{next(projects)}", name="x", actor="t", now=utc_now())
        self.project_id = project.id
        texts = [Submission(text=f"text {n}", created_at=utc_now()) for n in range(ITEMS)]
        arrivals = [runtime.intake.prepare(project.id, text, now=utc_now()) for text in texts]
        with self.database.write() as session:
            stored = runtime.intake.store(session, arrivals, now=utc_now())
        self.items = [one.id for one in stored]
        Pipeline(
            self.database, FakeAnalyser(), utc_now, batch_size=128, lease_seconds=60, max_attempts=5
        ).drain()
        with self.database.write() as session:
            for n in range(THEMES):
                theme = self._create(session, f"theme {n}")
                ledger.place(session, self.items[2 * n : 2 * n + 2], theme.id, by="model")

    def _create(self, session: Any, name: str) -> Theme:
        values = {"project_id": self.project_id, "name": name, "encoder": "fake", "algorithm": "test"}
        return ledger.create(
            session,
            values | {"threshold": 0.5},
            kind="theme.discovered",
            actor="t",
            now=utc_now(),
            as_of=utc_now(),
        )

    def themes(self) -> dict[str, dict[str, Any]]:
        with self.database.read() as session:
            mine = select(Theme).where(Theme.project_id == self.project_id).order_by(Theme.id)
            fields = ("name", "name_source", "status", "merged_into", "pinned")
            return {t.id: {field: getattr(t, field) for field in fields} for t in session.scalars(mine)}

    def places(self) -> dict[str, Place]:
        with self.database.read() as session:
            columns = select(Analysis.feedback_id, Analysis.theme_id, Analysis.theme_by)
            found = session.execute(columns.where(Analysis.project_id == self.project_id))
            return {feedback_id: (theme_id, by) for feedback_id, theme_id, by in found}

    def live(self) -> list[str]:
        return [theme_id for theme_id, theme in self.themes().items() if theme["merged_into"] is None]

    def members(self, theme_id: str) -> list[str]:
        themes = self.themes()
        return sorted(
            i for i, (t, _) in self.places().items() if t and (themes[t]["merged_into"] or t) == theme_id
        )

    def act(self, what: str, a: int, b: int, chosen: set[int]) -> int | None:
        """Merge, absorb, split, move or edit; None when there is nothing to do it to."""
        live = self.live()
        one, other = live[a % len(live)], live[b % len(live)]
        members = self.members(one)
        ids = sorted({members[n % len(members)] for n in chosen}) if members else []
        if (what in ("split", "move", "move out") and not ids) or (
            what in ("merge", "absorb") and one == other
        ):
            return None
        with self.database.write() as session:
            theme = ledger.find_theme(session, self.project_id, one)
            into = ledger.find_theme(session, self.project_id, other)
            who: Any = {"actor": "person", "now": utc_now()}
            if what in ("merge", "absorb"):
                return ledger.merge(session, theme, into, **who, by_machine=what == "absorb")
            if what == "split":
                values = {
                    "project_id": self.project_id,
                    "name": "part",
                    "encoder": "fake",
                    "algorithm": "person",
                }
                values |= {"threshold": 0.5, "pinned": True}
                return ledger.split(session, theme, ids, values, **who)[1]
            if what == "edit":
                return ledger.edit(session, theme, {"name": f"name {b}", "status": "fixed"}, **who)
            return ledger.move(session, theme, ids, into if what == "move" else None, **who)

    def undo(self, event_id: int) -> None:
        """Raises Conflict."""
        with self.database.write() as session:
            ledger.undo(session, session.get_one(Event, event_id), actor="person", now=utc_now())

    def event(self, event_id: int) -> Event:
        with self.database.read() as session:
            return session.get_one(Event, event_id)


acts = st.sampled_from(["merge", "absorb", "split", "move", "move out", "edit"])


class Histories(RuleBasedStateMachine):
    """The ledger beside a model of it: standing events alone say who lives on in whom and who is pinned."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self.it = Ledger(runtime)
        self.events: list[Event] = []
        self.undone: set[int] = set()
        self.places = self.it.places()

    @rule(what=acts, a=pick, b=pick, chosen=some)
    def act(self, what: str, a: int, b: int, chosen: set[int]) -> None:
        if (event_id := self.it.act(what, a, b, chosen)) is None:
            return
        event = self.it.event(event_id)
        self.events.append(event)
        for item in event.before.get("places", ()):
            self.places[item] = (
                event.after["into"] if "into" in event.after else event.after["child"],
                "person",
            )

    @rule(which=pick)
    def undo(self, which: int) -> None:
        if not self.events:
            return
        event = self.events[-1 - which % len(self.events)]
        before = (self.it.themes(), self.it.places())
        try:
            self.it.undo(event.id)
        except Conflict:
            assert self.conflicts(event)
            assert (self.it.themes(), self.it.places()) == before
            return
        assert event.id not in self.undone
        self.undone.add(event.id)
        target = event.after.get("into") or event.after.get("child")
        for item, place in event.before.get("places", {}).items():
            if self.places[item][0] == target:
                self.places[item] = tuple(place)

    def conflicts(self, event: Event) -> bool:
        """Whether there is a reason to refuse."""
        themes = self.it.themes()
        if event.id in self.undone:
            return True
        if event.kind == "theme.edited":
            return any(themes[event.subject_id][field] != value for field, value in event.after.items())
        if event.kind == "theme.split":
            child = event.after["child"]
            return (
                themes[child]["merged_into"] is not None or themes[event.subject_id]["merged_into"] == child
            )
        return False

    @invariant()
    def the_ledger_is_what_the_model_says(self) -> None:
        themes = self.it.themes()
        lives_in: dict[str, str] = {}
        pinned: set[str] = set()
        for event in self.events:
            stands = event.id not in self.undone
            pinned |= {event.subject_id} if event.kind == "theme.edited" and stands else set()
            if event.kind in ("theme.merged", "theme.absorbed") and stands:
                lives_in[event.subject_id] = event.after["into"]
                pinned |= {event.after["into"]} if event.kind == "theme.merged" else set()
            if event.kind == "theme.split":
                pinned |= {event.after["child"]} | ({event.subject_id} if stands else set())
                if not stands:
                    lives_in[event.after["child"]] = event.subject_id
        for theme_id, theme in themes.items():
            survivor = theme_id
            for _ in themes:
                survivor = lives_in.get(survivor, survivor)
            assert survivor not in lives_in, "aliases in a circle"
            assert theme["merged_into"] == (None if survivor == theme_id else survivor)
            assert theme["pinned"] == (theme_id in pinned)
        assert self.it.places() == self.places
        assert {theme_id for theme_id, _ in self.places.values() if theme_id} <= themes.keys()

    def teardown(self) -> None:
        assert_exact(self.it.database, self.it.project_id)


@pytest.mark.timeout(FAILING_S)
def test_any_history_leaves_one_live_theme_an_item(sqlite_runtime: Runtime) -> None:
    run_state_machine_as_test(lambda: Histories(sqlite_runtime), settings=BOUNDS)


@pytest.mark.timeout(FAILING_S)
def test_undoing_newest_first_restores_every_state_exactly(sqlite_runtime: Runtime) -> None:
    @BOUNDS
    @given(st.lists(st.tuples(acts, pick, pick, some), min_size=1, max_size=12))
    def check(history: list[tuple[str, int, int, set[int]]]) -> None:
        it = Ledger(sqlite_runtime)
        done: list[tuple[int, tuple[Any, Any]]] = []
        for one in history:
            before = (it.themes(), it.places())
            if (event_id := it.act(*one)) is not None:
                done.append((event_id, before))
        while done:
            event_id, (themes, places) = done.pop()
            it.undo(event_id)
            assert it.places() == places
            # What a split made lives on in its parent: its id keeps answering.
            assert {i: theme for i, theme in it.themes().items() if i in themes} == themes
        assert_exact(it.database, it.project_id)

    check()


def test_an_undone_event_is_not_undone_again(sqlite_runtime: Runtime) -> None:
    it = Ledger(sqlite_runtime)
    event_id = it.act("merge", 0, 1, {0})
    assert event_id is not None
    it.undo(event_id)
    with pytest.raises(Conflict, match="already undone"):
        it.undo(event_id)


def test_an_alias_answers_with_its_survivor(sqlite_runtime: Runtime) -> None:
    it = Ledger(sqlite_runtime)
    first, second, third = it.live()
    it.act("merge", 0, 1, {0})
    it.act("merge", 0, 1, {0})
    assert it.live() == [third]
    with it.database.read() as session:
        for alias in (first, second):
            with pytest.raises(Moved) as moved:
                ledger.find_theme(session, it.project_id, alias)
            assert moved.value.survivor == third
        assert ledger.family(session, it.project_id, [first]) == tuple(sorted([first, second, third]))
