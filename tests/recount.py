"""The trends counted again from nothing: an independent reading of what docs and design promise of the marginals."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, text

from voice.clock import HOUR, from_epoch_hour
from voice.db.session import Database
from voice.search import FeedbackFilter, find_ids
from voice.themes.ledger import family, survivors
from voice.trends import TrendQuery, read_trend

COLUMNS = (
    *("n", "negative", "neutral", "positive", "score", "ratings", "rating", "rating_squares"),
    *("nps", "promoters", "detractors", "csat", "satisfied"),
)
PLAIN = ("channel", "version", "segment")
ANALYSED = ("theme_id", "language", "intent", "urgency")

Key = tuple[str, str, int]  # dimension, value, hour


def stored(database: Database, project_id: str) -> dict[Key, dict[str, int]]:
    """The marginals as they are, cells that hold only zeros left out."""
    with database.read() as session:
        rows = session.execute(
            text(f"SELECT dimension, value, hour, {', '.join(COLUMNS)} FROM marginals WHERE project_id = :p"),
            {"p": project_id},
        ).all()
    found = {tuple(row[:3]): dict(zip(COLUMNS, map(int, row[3:]), strict=True)) for row in rows}
    for key, cell in found.items():
        assert all(n >= 0 for name, n in cell.items() if name != "score"), (key, cell)
        assert cell["n"] or not any(cell.values()), f"nothing is counted and yet not zero: {key} {cell}"
    return {key: cell for key, cell in found.items() if any(cell.values())}


def counted_again(database: Database, project_id: str) -> dict[Key, dict[str, int]]:
    """What the marginals must be, from feedback, analyses, topics and sources alone."""
    with database.read() as session:
        rows = session.execute(
            text(
                "SELECT f.id, f.channel, f.version, f.segment, f.created_at, f.rating, f.rating_scale, "
                "f.rating_counts, s.slug, a.sentiment, a.score, a.theme_id, a.language, a.intent, a.urgency "
                "FROM feedback f JOIN analyses a ON a.feedback_id = f.id JOIN sources s ON s.id = f.source_id "
                "WHERE f.project_id = :p"
            ),
            {"p": project_id},
        ).mappings()
        topics = defaultdict(list)
        for feedback_id, topic in session.execute(text("SELECT feedback_id, topic_id FROM feedback_topics")):
            topics[feedback_id].append(topic)
        found: dict[Key, Counter[str]] = defaultdict(Counter)
        for row in rows:
            hour = _hour(row["created_at"])
            values = [("all", ""), ("source", row["slug"])]
            values += [("topic", topic) for topic in topics[row["id"]]]
            values += [(name, row[name]) for name in PLAIN if row[name] is not None]
            values += [(name.removesuffix("_id"), row[name]) for name in ANALYSED if row[name] is not None]
            for dimension, value in values:
                found[dimension, value, hour].update(_adds(row))
    return {key: {name: int(cell[name]) for name in COLUMNS} for key, cell in found.items()}


def _hour(moment: str | datetime) -> int:
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return int(moment.timestamp()) // 3600


def _adds(row) -> dict[str, int]:
    adds = {"n": 1}
    if row["sentiment"] is not None:
        adds |= {row["sentiment"]: 1, "score": row["score"]}
    if row["rating"] is None or not row["rating_counts"]:
        return adds
    rating, scale = row["rating"], row["rating_scale"]
    if scale == "nps":
        return adds | {"nps": 1, "promoters": int(rating >= 9), "detractors": int(rating <= 6)}
    if scale in ("stars", "csat"):
        cents = round(rating * 100)
        adds |= {"ratings": 1, "rating": cents, "rating_squares": cents * cents}
    return adds | ({"csat": 1, "satisfied": int(rating >= 4)} if scale == "csat" else {})


def assert_exact(database: Database, project_id: str) -> None:
    """The marginals are exact, every response's rating counts once, and theme trends say what item lists say."""
    assert stored(database, project_id) == counted_again(database, project_id)
    _assert_one_rating_a_response(database, project_id)
    _assert_trends_equal_lists(database, project_id)


def _assert_one_rating_a_response(database: Database, project_id: str) -> None:
    with database.read() as session:
        rows = session.execute(
            text(
                "SELECT response_id, source_id, sum(CASE WHEN rating_counts THEN 1 ELSE 0 END) FROM feedback "
                "WHERE project_id = :p AND response_id IS NOT NULL AND rating IS NOT NULL "
                "GROUP BY source_id, response_id"
            ),
            {"p": project_id},
        )
        assert all(holders == 1 for *_, holders in rows)


def _assert_trends_equal_lists(database: Database, project_id: str) -> None:
    with database.read() as session:
        newest = text("SELECT max(created_at) FROM feedback WHERE project_id = :p")
        end = from_epoch_hour(_hour(session.scalar(newest, {"p": project_id}) or datetime.now(UTC)) + 1)
        resolved = survivors(session, project_id)
        lives = set(session.scalars(select(text("id FROM themes WHERE merged_into IS NULL"))))
        for offset in (timedelta(0), timedelta(minutes=1)):  # whole hours: marginals; otherwise rows
            query = TrendQuery(
                "volume", "theme", "day", end - 90 * 24 * HOUR, end + offset, limit=10_000, survivors=resolved
            )
            trend = read_trend(session, project_id, query)
            assert trend.exact_from == ("rows" if offset else "marginals")
            for series in trend.series:
                assert series.value in lives
                wanted = FeedbackFilter(theme=family(session, project_id, [series.value]))
                ids, following = find_ids(session, project_id, wanted, query=None, cursor=None, limit=10_000)
                assert (series.n, following) == (len(ids), None)
            in_themes = text("SELECT count(*) FROM analyses WHERE project_id = :p AND theme_id IS NOT NULL")
            assert sum(s.n for s in trend.series) == session.scalar(in_themes, {"p": project_id})
