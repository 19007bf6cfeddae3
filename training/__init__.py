"""The workshop: run configs, data, objective, trainer, evaluation, reports, the command line. Nothing imports it."""
