"""Annotations in other tools' formats, and public data sets, as documents."""
