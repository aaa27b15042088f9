"""Alembic runs this to migrate; the connection is handed in, its transaction is the caller's."""

from alembic import context

from edgegen.serve.storage.metadata import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite changes a table by making it anew
    transactional_ddl=False,  # one transaction around everything, that of the lock, and not one of alembic's own
)
context.run_migrations()
