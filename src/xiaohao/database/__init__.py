"""One SQL database: schema, engine, migrations."""
