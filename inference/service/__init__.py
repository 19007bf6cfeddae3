"""The tagger as an HTTP service; `python -m inference.service CHECKPOINT` runs it. The framework is in `inference.web`."""
