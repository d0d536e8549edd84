"""A negative control: the queue is the truth. One Celery task a piece, acknowledged late, rejected when a worker is lost.

What many set-ups would do, with the settings that Celery recommends against loss. Everything after the queue is Voice.
"""

from celery import Celery
from sqlalchemy import update

from voice.config import load_settings
from voice.db.tables import ANALYSED, Feedback
from voice.feedback.claims import Claim
from voice.ids import new_id
from voice.pipeline import ON_ARRIVAL, record
from workers.lifecycle import runtime

app = Celery("naive", broker=load_settings().broker)
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_default_queue="naive",
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
)


@app.task(name="analyse_one")
def analyse_one(feedback_id: str) -> None:
    """Read one row and store the result."""
    live = runtime()
    token = new_id()
    with live.database.write() as session:
        mine = update(Feedback).where(Feedback.id == feedback_id, Feedback.status != ANALYSED)
        session.execute(mine.values(lease_token=token))
        row = session.get_one(Feedback, feedback_id)
    held = Claim(token, (row,))
    batch = live.pipeline._prepare(held)
    for step in ON_ARRIVAL:
        step.run(live.analyser, batch)
    with live.database.write() as session:
        record(session, held, batch, analyser=live.analyser, now=live.clock())
