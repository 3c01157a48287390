"""What several suites share and import: fakes, and how long a test waits for what must come."""

PATIENCE_S = 60.0  # for what takes a second on a quiet machine
