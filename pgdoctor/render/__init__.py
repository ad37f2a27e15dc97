"""A diagnosis as people and programs read it. Pure: values in, text out."""
