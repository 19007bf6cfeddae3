"""Labels that are probably wrong, found by taggers that never saw them."""
