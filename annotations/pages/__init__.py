"""Documents for people to look at: pages and terminals."""
