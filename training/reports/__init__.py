"""How good predictions are, how sure that is, and whether one result is better than another."""
