"""Millions of analysed rows, written by the database itself; for `trends.py`.

Every row is a function of its number: time rises evenly over the span, ten topics, 200 themes of which few are large,
six channels, six versions that follow each other, five segments. Rows are narrow (a short text, no embedding) but have
every column, index and constraint of the schema, and the trends' marginals are those that the rows give.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import Index, insert, text

from benchmarks.harness import project_of
from voice.clock import epoch_hour
from voice.db.dialects import table_of
from voice.db.tables import Analysis, Feedback, FeedbackTopic, Source, Theme
from voice.ids import new_id
from voice.runtime import Runtime
from voice.trends.marginals import SUMS

TOPICS, THEMES, CHANNELS, SEGMENTS, VERSIONS = 10, 200, 6, 5, 6
_CHANNEL_NAMES = ("api", "ticket", "survey", "review", "chat", "email")
_STEP = 250_000
"""Rows a transaction."""


class Bulk:
    """Fills one empty installation."""

    def __init__(self, runtime: Runtime, *, rows: int, start: datetime, days: int) -> None:
        self._database = runtime.database
        self._sqlite = runtime.settings.is_embedded_database
        self._rows = rows
        self._start = start
        self._hours = days * 24
        self._project = project_of(runtime)
        self._source = new_id()

    def fill(self) -> None:
        """Everything: sources, themes, feedback, analyses, topics, marginals."""
        self._places()
        tables = [table_of(entity) for entity in (Feedback, Analysis, FeedbackTopic)]
        indexes: list[Index] = [index for one in tables for index in one.indexes]
        with self._database.engine.begin() as connection:
            for index in indexes:
                index.drop(connection)
        for first in range(0, self._rows, _STEP):
            last = min(first + _STEP, self._rows)
            self._run((self._feedback(), self._analyses(), self._topics()), first, last - 1)
        self._run(self._marginals(), 0, self._rows - 1)
        with self._database.engine.begin() as connection:
            for index in indexes:
                index.create(connection)
        if not self._sqlite:
            with self._database.engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE"))

    def _run(self, statements: Iterable[str], first: int, last: int) -> None:
        given = {"first": first, "last": last}
        if not self._sqlite:
            with self._database.write() as session:
                for statement in statements:
                    session.execute(text(statement), given)
            return
        connection = sqlite3.connect(str(self._database.engine.url.database))
        for pragma in ("synchronous=OFF", "foreign_keys=OFF", "cache_size=-262144", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")  # hurried: nothing here needs to survive a power cut
        with connection:
            for statement in statements:
                connection.execute(statement, given)
        connection.close()

    def _places(self) -> None:
        now = self._start
        themes = [
            {
                "id": f"{number:026}",
                "project_id": self._project,
                "name": f"Theme {number}",
                "keywords": [],
                "quotes": [],
                "threshold": 0.5,
                "encoder": "none",
                "algorithm": "none",
                "created_at": now,
            }
            for number in range(THEMES)
        ]
        source = {
            "id": self._source,
            "project_id": self._project,
            "slug": "bulk",
            "channel": "api",
            "created_at": now,
        }
        with self._database.write() as session:
            session.execute(insert(Source), [source])
            session.execute(insert(Theme), themes)

    def _from(self) -> str:
        """The numbers from :first to :last as `i`, with what each row says."""
        numbers = (
            "(WITH RECURSIVE up(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM up WHERE i < :last) SELECT i FROM up)"
            if self._sqlite
            else "(SELECT i FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS i)"
        )
        first_hour = epoch_hour(self._start)
        names = " ".join(f"WHEN {n} THEN '{name}'" for n, name in enumerate(_CHANNEL_NAMES))
        said = f"""
            SELECT i, i * 7919 % 1000 AS dice, {first_hour} + i * {self._hours} / {self._rows} AS hour,
                (i * {self._hours} * 3600) / {self._rows} AS second,
                'topic-' || (i * 31 % {TOPICS}) AS topic, i * 17 % 10 AS mood,
                CASE i * 13 % {CHANNELS} {names} END AS channel, 'segment-' || (i * 11 % {SEGMENTS}) AS segment,
                '5.' || (i * {VERSIONS} / {self._rows}) AS version,
                CASE i * 29 % 5 WHEN 0 THEN 'complaint' WHEN 1 THEN 'request' WHEN 2 THEN 'question'
                    WHEN 3 THEN 'praise' ELSE 'other' END AS intent,
                CASE i * 23 % 4 WHEN 0 THEN 'low' WHEN 1 THEN 'medium' WHEN 2 THEN 'high' ELSE 'critical' END AS urgency
            FROM {numbers} AS numbers"""
        theme = self._padded(f"dice * dice * {THEMES} / 1000000")
        mood = "CASE WHEN mood < 5 THEN 'negative' WHEN mood < 7 THEN 'neutral' ELSE 'positive' END"
        score = "CASE WHEN mood < 5 THEN -8000 WHEN mood < 7 THEN 0 ELSE 8000 END"
        return f"(SELECT said.*, {theme} AS theme, {mood} AS sentiment, {score} AS score FROM ({said}) AS said) AS row"

    def _padded(self, number: str) -> str:
        if self._sqlite:
            return f"substr('00000000000000000000000000' || ({number}), -26)"
        return f"lpad(({number})::text, 26, '0')"

    def _moment(self) -> str:
        begin = self._start.strftime("%Y-%m-%d %H:%M:%S")
        if self._sqlite:
            return f"strftime('%Y-%m-%d %H:%M:%S', '{begin}', '+' || second || ' seconds') || '.000000'"
        return f"(timestamptz '{begin}+00' + second * interval '1 second')"

    def _feedback(self) -> str:
        truth, lie = ("1", "0") if self._sqlite else ("true", "false")
        moment = self._moment()
        return f"""
            INSERT INTO feedback (id, project_id, source_id, channel, segment, text, rating_counts, created_at, received_at,
                version, tags, metadata, truncated, redacted, redactor, content_hash, status, attempts, alone)
            SELECT {self._padded("i")}, '{self._project}', '{self._source}', channel, segment, 'Short words', {truth},
                {moment}, {moment}, version, '[]', '{{}}', {lie}, '{{}}', 'none', {self._padded("i")}, 2, 0, {lie}
            FROM {self._from()}"""

    def _analyses(self) -> str:
        lie = "0" if self._sqlite else "false"
        counted = "('" + self._counted().replace("{", "' || ").replace("}", " || '") + "')"
        as_json = counted if self._sqlite else f"{counted}::json"
        return f"""
            INSERT INTO analyses (feedback_id, project_id, sentiment, score, confidence, unsure, mixed, intent, urgency,
                urgency_reasons, aspects, language, model, theme_id, theme_by, theme_score, counted, analysed_at)
            SELECT {self._padded("i")}, '{self._project}', sentiment, score, 0.9, {lie}, {lie}, intent, urgency, '[]', '[]',
                'en', 'none', theme, 'model', 0.9, {as_json}, {self._moment()}
            FROM {self._from()}"""

    def _counted(self) -> str:
        """The snapshot as JSON; what stands in braces is SQL, and < > are the braces of JSON."""
        sums = ["1"] + [f"{{CASE WHEN sentiment = '{name}' THEN 1 ELSE 0 END}}" for name in SUMS[1:4]]
        sums += ["{score}"] + ["0"] * (len(SUMS) - 5)
        values = (
            '"all": [""], "topic": ["{topic}"], "theme": ["{theme}"], "channel": ["{channel}"], "source": ["bulk"], '
            '"version": ["{version}"], "segment": ["{segment}"], "language": ["en"], "intent": ["{intent}"], '
            '"urgency": ["{urgency}"]'
        )
        opened, closed = "' || chr(123) || '", "' || chr(125) || '"
        if self._sqlite:
            opened, closed = opened.replace("chr", "char"), closed.replace("chr", "char")
        body = f'<"hour": {{hour}}, "values": <{values}>, "sums": [{", ".join(sums)}]>'
        return body.replace("<", opened).replace(">", closed)

    def _topics(self) -> str:
        return f"""
            INSERT INTO feedback_topics (feedback_id, topic_id, score)
            SELECT {self._padded("i")}, topic, 0.9 FROM {self._from()}"""

    def _marginals(self) -> list[str]:
        dimensions = {
            name: name for name in ("topic", "theme", "channel", "version", "segment", "intent", "urgency")
        }
        dimensions |= {"all": "''", "source": "'bulk'", "language": "'en'"}
        counts = ", ".join(f"sum(CASE WHEN sentiment = '{name}' THEN 1 ELSE 0 END)" for name in SUMS[1:4])
        zeros = ", ".join("0" for _ in SUMS[5:])
        return [
            f"""INSERT INTO marginals (project_id, dimension, value, hour, {", ".join(SUMS)})
                SELECT '{self._project}', '{name}', {value}, hour, count(*), {counts}, sum(score), {zeros}
                FROM {self._from()} GROUP BY 3, 4"""
            for name, value in dimensions.items()
        ]


def midnight(moment: datetime, *, days_before: int) -> datetime:
    """The beginning of a day in UTC."""
    return moment.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days_before)
