"""Numbers in bulk: files in, tables out."""
