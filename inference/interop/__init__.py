"""A tagger in other people's tools: transformers' pipeline, spaCy, `datasets` and Ray."""
