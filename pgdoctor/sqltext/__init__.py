"""Reading SQL text: tokens, statements, tables, conditions, redaction."""
