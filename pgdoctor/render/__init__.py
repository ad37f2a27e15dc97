"""A diagnosis as people and programs read it: tree, table, JSON, Markdown, page. Pure: values in, text out."""
