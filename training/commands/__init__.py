"""The commands of `standpoint`: thin shells; heavy modules load only inside them."""
