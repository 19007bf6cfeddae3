"""What is wrong with a run, found before any training."""
