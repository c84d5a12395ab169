"""What Alembic runs: the steps that are missing, inside the transaction that `Database.migrate` opened."""

from alembic import context

from xiaohao.database.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
context.run_migrations()
