"""What outlives the process: tables in SQL and blobs in files.

To add a table: describe it in a module of this package, on the one `metadata.METADATA` (see `tables.py`); write a migration
`migrations/versions/m000N_name.py` that creates it, whose `down_revision` is the latest one. That is all: migrations are
applied when a gateway starts, and a test compares what they make with what the modules describe, on every database.
"""
