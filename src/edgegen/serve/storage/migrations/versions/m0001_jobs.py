"""Jobs: what was asked for, what was tried, what came out."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _job_id(table: str) -> tuple:
    name = f"fk_{table}_job_id_jobs"
    return (
        sa.Column("job_id", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=name, ondelete="CASCADE"),
    )


def upgrade() -> None:
    """Create the tables of jobs."""
    op.create_table(
        "gateways",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("began_s", sa.Double, nullable=False),
        sa.Column("until_s", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gateways"),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("created_s", sa.Double, nullable=False),
        sa.Column("turn_s", sa.Double, nullable=False),
        sa.Column("ended_s", sa.Double),
        sa.Column("owner", sa.Text),
        sa.Column("takings", sa.Integer, nullable=False),
        sa.Column("last_event", sa.Integer, nullable=False),
        sa.Column("error", sa.JSON),
        sa.Column("webhook", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    op.create_index("ix_jobs_ended_s_turn_s", "jobs", ["ended_s", "turn_s"])
    op.create_index("ix_jobs_account_created_s", "jobs", ["account", "created_s"])
    op.create_index("ix_jobs_owner", "jobs", ["owner"])
    _create_what_was_made()
    _create_what_is_told()


def _create_what_was_made() -> None:
    op.create_table(
        "pictures",
        *_job_id("pictures"),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("model", sa.Text),
        sa.Column("step", sa.Integer),
        sa.Column("checkpoint", sa.Text),
        sa.Column("checkpoint_sha256", sa.Text),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_pictures"),
        sa.UniqueConstraint("id", name="uq_pictures_id"),
    )
    op.create_table(
        "attempts",
        *_job_id("attempts"),
        sa.Column("event", sa.Integer, nullable=False),
        sa.Column("picture", sa.Integer, nullable=False),
        sa.Column("gateway", sa.Text, nullable=False),
        sa.Column("at_s", sa.Double, nullable=False),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("steps", sa.Integer, nullable=False),
        sa.Column("done_steps", sa.Integer, nullable=False),
        sa.Column("decision", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "event", name="pk_attempts"),
    )
    op.create_table(
        "results",
        *_job_id("results"),
        sa.Column("picture", sa.Integer, nullable=False),
        sa.Column("at_s", sa.Double, nullable=False),
        sa.Column("blob", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("item", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "picture", name="pk_results"),
    )


def _create_what_is_told() -> None:
    op.create_table(
        "events",
        *_job_id("events"),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("at_s", sa.Double, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "number", name="pk_events"),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Text, nullable=False),
        *_job_id("webhooks"),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_s", sa.Double),
        sa.Column("delivered_s", sa.Double),
        sa.Column("trouble", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
        sa.UniqueConstraint("job_id", name="uq_webhooks_job_id"),
    )
    op.create_index("ix_webhooks_next_s", "webhooks", ["next_s"])
    op.create_table(
        "idempotency",
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        *_job_id("idempotency"),
        sa.Column("body_sha256", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("account", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_job_id", "idempotency", ["job_id"])


def downgrade() -> None:
    """Drop them; what was kept in them is lost."""
    for table in ("idempotency", "webhooks", "events", "results", "attempts", "pictures", "jobs", "gateways"):
        op.drop_table(table)
