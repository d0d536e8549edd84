"""erasures and suppression, addresses a person used, secrets that outlive a rotation, webhooks"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("project_id", sa.String(length=26), nullable=False),
        sa.Column("people", sa.JSON(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reached", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_erasures_project", "erasures", ["project_id", "id"])
    op.create_table(
        "suppressions",
        sa.Column("project_id", sa.String(length=26), nullable=False),
        sa.Column("key", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"]),
        sa.PrimaryKeyConstraint("project_id", "key"),
    )
    op.create_table(
        "person_emails",
        sa.Column("project_id", sa.String(length=26), nullable=False),
        sa.Column("person_id", sa.String(length=32), nullable=False),
        sa.Column("email_key", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"]),
        sa.PrimaryKeyConstraint("project_id", "person_id", "email_key"),
    )
    op.create_index("ix_person_emails_key", "person_emails", ["project_id", "email_key"])
    op.execute(
        "INSERT INTO person_emails (project_id, person_id, email_key) "
        "SELECT project_id, id, email_key FROM people WHERE email_key IS NOT NULL"
    )
    op.create_table(
        "vault",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("source_id", sa.String(length=26), nullable=False),
        sa.Column("delivery_id", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"]),
        sa.PrimaryKeyConstraint("source_id", "delivery_id"),
    )
    op.create_index("ix_webhook_deliveries_at", "webhook_deliveries", ["at"])
    op.add_column("feedback", sa.Column("sent_by", sa.String(length=64), nullable=True))
    op.add_column("feedback", sa.Column("trace", sa.String(length=55), nullable=True))
    op.create_index(
        "ix_feedback_age", "feedback", ["project_id", "channel", "created_at"], if_not_exists=True
    )
    op.add_column("projects", sa.Column("removals", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("sources", sa.Column("kind", sa.String(length=32), nullable=True))
    op.add_column("sources", sa.Column("secret", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("sources") as sources:
        sources.drop_column("secret")
        sources.drop_column("kind")
    with op.batch_alter_table("projects") as projects:
        projects.drop_column("removals")
    op.drop_index("ix_feedback_age", "feedback")
    with op.batch_alter_table("feedback") as feedback:
        feedback.drop_column("trace")
        feedback.drop_column("sent_by")
    for table in ("webhook_deliveries", "vault", "person_emails", "suppressions", "erasures"):
        op.drop_table(table)
