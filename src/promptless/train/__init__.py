"""Training: one loop, and the tasks it is given."""
