"""The history of the tables; `database.migrate` brings a database to the latest state."""
