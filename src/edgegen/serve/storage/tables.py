"""The tables of jobs. Times are Unix seconds: a deadline has to mean the same to whoever takes a job over.

A job belongs to the gateway whose id is its `owner`, as long as that gateway says that it lives (`gateways.until_s`).
Whatever changes a job names its owner in the condition of the same transaction, so a gateway that was thought dead and
comes back changes nothing that is no longer its own.
"""

from sqlalchemy import JSON, BigInteger, Column, Double, ForeignKey, Index, Integer, Table, Text, UniqueConstraint

from edgegen.serve.storage.metadata import METADATA

OPEN = ("waiting", "running")
ENDED = ("done", "refused", "failed", "cancelled")


def _of_job(**options) -> Column:
    return Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, **options)


gateways = Table(
    "gateways",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("began_s", Double, nullable=False),
    Column("until_s", Double, nullable=False),  # its lease; renewed while it lives
)

jobs = Table(
    "jobs",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("account", Text, nullable=False),  # whose key asked for it; "" where nobody needs one
    Column("status", Text, nullable=False),  # of OPEN and ENDED
    Column("body", JSON, nullable=False),  # as it came, without the webhook
    Column("created_s", Double, nullable=False),
    Column("turn_s", Double, nullable=False),  # the order in which they are taken: by deadline
    Column("ended_s", Double),  # null exactly as long as its status is of OPEN
    Column("owner", Text),  # of `gateways`; null: nobody works on it
    Column("takings", Integer, nullable=False),  # how many gateways have begun to work on it
    Column("last_event", Integer, nullable=False),
    Column("error", JSON),  # as the API shows it; of jobs that ended without pictures
    Column("webhook", Text),
    Index("ix_jobs_ended_s_turn_s", "ended_s", "turn_s"),
    Index("ix_jobs_account_created_s", "account", "created_s"),
    Index("ix_jobs_owner", "owner"),
)

# One row per wanted picture. Its id and its seed are settled on acceptance: another attempt makes the same picture.
pictures = Table(
    "pictures",
    METADATA,
    _of_job(primary_key=True),
    Column("number", Integer, primary_key=True),  # from 0
    Column("id", Text, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("model", Text),  # what the checkpoint is of; null: there is none
    Column("step", Integer),  # steps that are done in it
    Column("checkpoint", Text),  # blob
    Column("checkpoint_sha256", Text),
    UniqueConstraint("id"),
)

# Every start of a picture: what was decided, by whom, and from which step it went on.
attempts = Table(
    "attempts",
    METADATA,
    _of_job(primary_key=True),
    Column("event", Integer, primary_key=True),  # the number of the event that tells of it
    Column("picture", Integer, nullable=False),
    Column("gateway", Text, nullable=False),
    Column("at_s", Double, nullable=False),
    Column("node", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("done_steps", Integer, nullable=False),  # of a checkpoint; 0: from the start
    Column("decision", JSON, nullable=False),  # the reason and the predicted split
)

results = Table(
    "results",
    METADATA,
    _of_job(primary_key=True),
    Column("picture", Integer, primary_key=True),
    Column("at_s", Double, nullable=False),
    Column("blob", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("item", JSON, nullable=False),  # as the API shows it
)

events = Table(
    "events",
    METADATA,
    _of_job(primary_key=True),
    Column("number", Integer, primary_key=True),  # from 1, without gaps
    Column("kind", Text, nullable=False),
    Column("at_s", Double, nullable=False),
    Column("data", JSON, nullable=False),
)

# Jobs that are gone and whose blobs may still be there. The row is written in the transaction that removes the job, and
# goes when its blobs have gone, so that whoever is killed in between leaves nothing behind for ever.
forgotten = Table(
    "forgotten",
    METADATA,
    Column("job_id", Text, primary_key=True),
    Column("at_s", Double, nullable=False),
)

webhooks = Table(
    "webhooks",
    METADATA,
    Column("id", Text, primary_key=True),
    _of_job(),
    Column("url", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("next_s", Double),  # when to try (again); null: delivered or given up
    Column("delivered_s", Double),
    Column("trouble", Text),  # what was wrong the last time
    UniqueConstraint("job_id"),
    Index("ix_webhooks_next_s", "next_s"),
)

idempotency = Table(
    "idempotency",
    METADATA,
    Column("account", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    _of_job(),
    Column("body_sha256", Text, nullable=False),
    Index("ix_idempotency_job_id", "job_id"),
)
