"""People -> pictures and pages. Knows no networks and no data."""
