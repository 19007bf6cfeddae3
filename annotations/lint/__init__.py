"""Rules for annotated files, each with a stable code."""
