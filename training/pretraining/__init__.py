"""Masked-LM pretraining of encoders from plain text, within a budget of time and through interruptions."""
