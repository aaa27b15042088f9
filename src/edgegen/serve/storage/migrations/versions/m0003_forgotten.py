"""Jobs that are gone and whose blobs may still be there."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of what is to be swept."""
    op.create_table(
        "forgotten",
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("at_s", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_forgotten"),
    )


def downgrade() -> None:
    """Drop it; blobs that were not swept yet stay where they are."""
    op.drop_table("forgotten")
