"""Alembic's entry: migrates over the connection that `migrate.upgrade` hands it, within its transaction."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
