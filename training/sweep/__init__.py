"""Searching the settings of a run: trials on the same folds, several processes, Optuna to propose what to try."""
