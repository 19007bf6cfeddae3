"""A Label Studio server's ML backend: suggests labels, and trains the next version as annotators correct."""
