"""The scheduled rhythm on stand-in vectors: identity for life, people's word kept, emergence set and calmed."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count, product
from typing import Any

import pytest
from sqlalchemy import select, update

from tests.conftest import first_project
from tests.fakes import FakeAnalyser
from tests.recount import assert_exact
from voice.clock import rfc3339
from voice.corrections import correct
from voice.db.tables import Analysis, Event, Feedback, Lineage, Theme
from voice.feedback.submission import Author, Submission
from voice.pipeline import Pipeline
from voice.runtime import Runtime
from voice.themes import discover, ledger, splitting
from voice.themes.evaluate import Evaluation, evaluate, is_due
from voice.themes.queries import ThemeFilter, list_themes

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
SAID = {
    "checkout": "checkout card payment fails",
    "login": "login password reset loops",
    "export": "export report file broken",
}
# Three letters each and without digits: texts that differ in digits alone count as one.
FILLER = ["".join(letters) for letters in product("bdfgklmnprstv", "aeiou", "bdgklmnprst")]


class Place:
    """A project in which people talk about checkout, login and export."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, self.database = runtime, runtime.database
        self.analyser = FakeAnalyser()
        self.project = first_project(runtime)
        self.dice = random.Random(1)
        self.people = count()
        self.pipeline = Pipeline(
            self.database, self.analyser, lambda: NOW, batch_size=128, lease_seconds=60, max_attempts=5
        )

    def say(
        self, about: str, times: int, at: datetime = NOW, spread: timedelta = timedelta(hours=1)
    ) -> list[str]:
        """That many people say it, each in words of their own, one a `spread` before the other."""
        arrivals = []
        for n in range(times):
            words = f"{SAID.get(about, about)} {' '.join(self.dice.sample(FILLER, 2))}"
            author = Author(id=f"person {next(self.people)}")
            given = Submission(text=words, author=author, created_at=at - n * spread)
            arrivals.append(self.runtime.intake.prepare(self.project, given, now=NOW))
        with self.database.write() as session:
            stored = self.runtime.intake.store(session, arrivals, now=NOW)
        self.pipeline.drain()
        return [one.id for one in stored]

    def evaluate(self, as_of: datetime = NOW) -> Evaluation:
        return evaluate(
            self.database,
            self.analyser,
            self.project,
            as_of=as_of,
            now=NOW,
            window_days=28,
            window_items=20_000,
        )

    def themes(self) -> dict[str, Theme]:
        """Every theme by id, aliases too."""
        with self.database.read() as session:
            return {theme.id: theme for theme in session.scalars(select(Theme).order_by(Theme.id))}

    def theme_of(self, about: str) -> Theme:
        """The live theme whose name says what it is about."""
        [found] = [t for t in self.themes().values() if t.merged_into is None and about in t.name.casefold()]
        return found

    def homes(self, ids: list[str]) -> set[str | None]:
        """The live themes that these items are in."""
        with self.database.read() as session:
            resolved = ledger.survivors(session, self.project)
            where = session.scalars(select(Analysis.theme_id).where(Analysis.feedback_id.in_(ids)))
            return {resolved.get(theme_id or "", theme_id) for theme_id in where}

    def move(self, ids: list[str], theme_id: str, into: str | None) -> None:
        with self.database.write() as session:
            target = session.get_one(Theme, into) if into is not None else None
            ledger.move(session, session.get_one(Theme, theme_id), ids, target, actor="ada", now=NOW)

    def kinds(self) -> list[str]:
        with self.database.read() as session:
            return list(
                session.scalars(select(Event.kind).where(Event.kind.like("theme.%")).order_by(Event.id))
            )


@pytest.fixture
def place(sqlite_runtime: Runtime) -> Place:
    return Place(sqlite_runtime)


@pytest.fixture
def settled(place: Place) -> Place:
    """Three themes of fifteen items each."""
    for about in SAID:
        place.say(about, 15)
    assert place.evaluate().born == 3
    return place


def test_themes_are_born_with_names_quotes_and_members(runtime: Runtime) -> None:
    place = Place(runtime)
    said = {about: place.say(about, 15) for about in SAID}
    done = place.evaluate()
    assert (done.items, done.born, done.moved, done.emerging) == (45, 3, 45, 0)
    for about, ids in said.items():
        theme = place.theme_of(about)
        assert place.homes(ids) == {theme.id}
        assert set(theme.quotes) <= set(ids)
        assert theme.quotes
        assert about in theme.keywords
        assert (theme.name_source, theme.pinned, theme.created_at) == ("machine", False, NOW)
    assert place.kinds() == ["theme.discovered"] * 3
    assert_exact(place.database, place.project)


def test_a_second_evaluation_of_the_same_changes_nothing(settled: Place) -> None:
    before = {i: (t.name, t.centroid, t.quotes, t.threshold) for i, t in settled.themes().items()}
    done = settled.evaluate(NOW + timedelta(minutes=5))
    assert (done.born, done.absorbed, done.moved) == (0, 0, 0)
    assert {i: (t.name, t.centroid, t.quotes, t.threshold) for i, t in settled.themes().items()} == before


def test_ids_are_kept_while_the_window_moves_on(settled: Place) -> None:
    before = {about: settled.theme_of(about).id for about in SAID}
    for weeks in range(1, 7):
        later = NOW + timedelta(weeks=weeks)
        new = {about: settled.say(about, 12, later) for about in SAID}
        assert settled.evaluate(later).born == 0
        assert {about: settled.theme_of(about).id for about in SAID} == before
        assert all(settled.homes(ids) == {before[about]} for about, ids in new.items())
    assert_exact(settled.database, settled.project)


def test_a_new_subject_is_a_new_theme_beside_the_old(settled: Place) -> None:
    before = set(settled.themes())
    ids = settled.say("search finds wrong products", 15)
    assert settled.evaluate(NOW + timedelta(minutes=5)).born == 1
    assert before < set(settled.themes())
    assert settled.homes(ids) == {settled.theme_of("search").id}


def test_too_little_to_say_makes_no_theme(place: Place) -> None:
    assert place.evaluate() == Evaluation(0, 0, 0, 0, 0)
    place.say("checkout", 3)
    assert place.evaluate() == Evaluation(3, 0, 0, 0, 0)


def test_what_people_placed_is_never_moved(settled: Place) -> None:
    checkout, login, export = (settled.theme_of(about).id for about in SAID)
    moved, freed, corrected = settled.say("login", 1), settled.say("login", 1), settled.say("login", 1)
    settled.move(moved, login, checkout)
    settled.move(freed, login, None)
    with settled.database.write() as session:
        correct(session, settled.project, corrected[0], {"theme": export}, actor="ada", now=NOW)
    for minutes in (5, 10):
        settled.evaluate(NOW + timedelta(minutes=minutes))
        assert [settled.homes(ids) for ids in (moved, freed, corrected)] == [{checkout}, {None}, {export}]


def test_a_merge_by_people_is_not_taken_apart(settled: Place) -> None:
    login, export = settled.theme_of("login").id, settled.theme_of("export").id
    with settled.database.write() as session:
        one, other = session.get_one(Theme, login), session.get_one(Theme, export)
        ledger.merge(session, one, other, actor="ada", now=NOW)
    ids = settled.say("login", 15) + settled.say("export", 15)
    done = settled.evaluate(NOW + timedelta(minutes=5))
    assert done.born == 0
    assert settled.themes()[login].merged_into == export
    assert settled.homes(ids) <= {export, None}
    assert len([t for t in settled.themes().values() if t.merged_into is None]) == 2


def test_a_split_by_people_is_not_put_together(settled: Place) -> None:
    checkout = settled.theme_of("checkout").id
    members = settled.say("checkout", 4)
    with settled.database.write() as session:
        theme = session.get_one(Theme, checkout)
        values = splitting.new_theme(session, theme, members, name="The other checkout")
        child, _ = ledger.split(session, theme, members, values, actor="ada", now=NOW)
    for minutes in (5, 10):
        done = settled.evaluate(NOW + timedelta(minutes=minutes))
        assert (done.born, done.absorbed) == (0, 0)
        assert settled.homes(members) == {child.id}
        assert settled.themes()[child.id].name == "The other checkout"


def test_a_name_that_people_gave_is_kept(settled: Place) -> None:
    theme = settled.theme_of("login")
    with settled.database.write() as session:
        named = session.get_one(Theme, theme.id)
        ledger.edit(session, named, {"name": "Door locked"}, actor="ada", now=NOW)
    for weeks in (1, 2, 5):
        settled.say("login", 12, NOW + timedelta(weeks=weeks))
        settled.evaluate(NOW + timedelta(weeks=weeks))
    kept = settled.themes()[theme.id]
    assert (kept.name, kept.name_source, kept.name_doubts) == ("Door locked", "person", 0)
    assert "theme.renamed" not in settled.kinds()


def test_a_machine_renames_only_after_two_doubts(settled: Place) -> None:
    theme = settled.theme_of("login")
    name = theme.name
    with settled.database.write() as session:
        session.execute(update(Theme).where(Theme.id == theme.id).values(name="Long gone words"))
    settled.evaluate(NOW + timedelta(minutes=5))
    doubted = settled.themes()[theme.id]
    assert (doubted.name, doubted.name_doubts) == ("Long gone words", 1)
    settled.evaluate(NOW + timedelta(minutes=10))
    renamed = settled.themes()[theme.id]
    assert (renamed.name, renamed.name_source, renamed.name_doubts) == (name, "machine", 0)
    with settled.database.read() as session:
        [event] = session.scalars(select(Event).where(Event.kind == "theme.renamed"))
    assert (event.before, event.after) == ({"name": "Long gone words"}, {"name": name})


def test_a_doubt_that_passes_is_forgotten(settled: Place) -> None:
    theme = settled.theme_of("login")
    with settled.database.write() as session:
        session.execute(update(Theme).where(Theme.id == theme.id).values(name_doubts=1))
    settled.evaluate(NOW + timedelta(minutes=5))
    kept = settled.themes()[theme.id]
    assert (kept.name, kept.name_doubts) == (theme.name, 0)


def test_a_theme_whose_members_joined_another_lives_on_there(settled: Place) -> None:
    checkout = settled.theme_of("checkout")
    values = {"project_id": settled.project, "name": "Twin", "encoder": "fake", "algorithm": "test"}
    values |= {"threshold": 0.5, "centroid": checkout.centroid}
    with settled.database.write() as session:
        twin = ledger.create(session, values, kind="theme.discovered", actor="t", now=NOW, as_of=NOW)
        members = session.scalars(select(Analysis.feedback_id).where(Analysis.theme_id == checkout.id)).all()
        ledger.place(session, members[:5], twin.id, by="model")
    assert settled.evaluate(NOW + timedelta(minutes=5)).absorbed == 1
    survivor = settled.theme_of("checkout")
    [alias] = [t for t in settled.themes().values() if t.merged_into is not None]
    assert {survivor.id, alias.id} == {checkout.id, twin.id}
    assert alias.merged_into == survivor.id
    assert "theme.absorbed" in settled.kinds()
    with settled.database.read() as session:
        assert [line.kind for line in session.scalars(select(Lineage))] == ["absorb"]
    assert_exact(settled.database, settled.project)


def test_a_theme_without_a_centre_is_no_obstacle(settled: Place) -> None:
    values = {"project_id": settled.project, "name": "Rated", "encoder": "fake", "algorithm": "person"}
    with settled.database.write() as session:
        made = values | {"threshold": 0.5, "centroid": None, "pinned": True}
        ledger.create(session, made, kind="theme.created", actor="t", now=NOW, as_of=NOW)
    settled.say("something else entirely", 1)
    settled.evaluate(NOW + timedelta(minutes=5))
    assert settled.theme_of("rated").merged_into is None


def test_of_two_evaluations_at_once_the_later_is_dropped(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(runtime)
    for about in SAID:
        place.say(about, 15)
    together, real = threading.Barrier(2), discover.discover

    def meet(*arguments: Any, **options: Any) -> Any:
        together.wait(60)
        return real(*arguments, **options)

    monkeypatch.setattr(discover, "discover", meet)
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(place.evaluate, (NOW, NOW + timedelta(seconds=1))))
    assert sorted(one.born for one in done) == [0, 3]
    assert len(place.themes()) == 3
    assert place.kinds().count("theme.discovered") == 3


def test_a_row_that_changed_meanwhile_is_left_alone(settled: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    login, checkout = settled.theme_of("login").id, settled.theme_of("checkout").id
    [new] = settled.say("login", 1)
    with settled.database.write() as session:
        ledger.place(session, [new], None, by="model")
    real = discover.discover

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        with settled.database.write() as session:
            correct(session, settled.project, new, {"theme": checkout}, actor="ada", now=NOW)
        return real(*arguments, **options)

    monkeypatch.setattr(discover, "discover", meanwhile)
    settled.evaluate(NOW + timedelta(minutes=5))
    assert settled.homes([new]) == {checkout} != {login}


def emerging(place: Place, theme_id: str) -> dict[str, Any] | None:
    return place.themes()[theme_id].emerging


def test_a_theme_emerges_keeps_its_since_and_calms_down(place: Place) -> None:
    for about in SAID:
        place.say(about, 20, NOW - timedelta(days=2), spread=timedelta(hours=18))
    place.evaluate(NOW - timedelta(days=1))
    login, checkout = place.theme_of("login").id, place.theme_of("checkout").id
    assert emerging(place, login) is None
    place.say("login", 14, NOW)
    assert place.evaluate(NOW).emerging == 1
    first = emerging(place, login)
    assert first is not None
    assert first["since"] == rfc3339(NOW)
    assert first["low"] > 1
    assert emerging(place, checkout) is None
    tomorrow = NOW + timedelta(days=1)
    place.say("login", 20, tomorrow)
    assert place.evaluate(tomorrow).emerging == 1
    second = emerging(place, login)
    assert second is not None
    assert second["since"] == first["since"]
    assert second["recent"] > first["recent"]
    later = NOW + timedelta(days=12)
    for about in SAID:
        place.say(about, 8, later, spread=timedelta(hours=18))
    assert place.evaluate(later).emerging == 0
    assert emerging(place, login) is None
    kinds = [kind for kind in place.kinds() if kind in ("theme.emerged", "theme.calmed")]
    assert kinds == ["theme.emerged", "theme.calmed"]
    with place.database.read() as session:
        shown = list_themes(session, place.project, ThemeFilter(emerging=True), sort="impact", as_of=later)
    assert shown == []


def test_one_loud_person_makes_nothing_emerge(place: Place) -> None:
    for about in SAID:
        place.say(about, 20, NOW - timedelta(days=2), spread=timedelta(hours=18))
    place.evaluate(NOW - timedelta(days=1))
    place.people = iter([7] * 14)  # type: ignore[assignment]
    place.say("login", 14, NOW)
    assert place.evaluate(NOW).emerging == 0


def test_an_evaluation_is_due_after_news_or_an_hour(settled: Place) -> None:
    def due(at: datetime) -> bool:
        with settled.database.read() as session:
            return is_due(session, settled.project, now=at)

    assert not due(NOW + timedelta(minutes=59))
    assert due(NOW + timedelta(minutes=60))
    with settled.database.write() as session:
        session.execute(update(Analysis).values(analysed_at=NOW + timedelta(seconds=1)))
    assert due(NOW + timedelta(seconds=2))


def test_the_window_ends_with_the_moment_asked_for(place: Place) -> None:
    for about in SAID:
        place.say(about, 15, NOW)
    assert place.evaluate(NOW - timedelta(days=1)).items == 0
    with place.database.read() as session:
        assert session.scalar(select(Feedback.id).limit(1)) is not None
    assert place.evaluate(NOW + timedelta(days=40)).items == 0
    assert place.evaluate(NOW).items == 45
