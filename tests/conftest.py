"""What all tests share: examples that are the same on every run and every machine."""

from hypothesis import settings

# No deadline: the first example of a kernel waits for its compiler. No database: what a run finds
# depends on the code alone; a counter-example worth keeping becomes an explicit @example.
settings.register_profile(
    "deterministic", derandomize=True, deadline=None, database=None, print_blob=True
)
settings.load_profile("deterministic")
