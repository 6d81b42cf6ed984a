"""The core with one thing changed at a time: do its tests see it? `python -m tests.mutation`, or `make mutants`."""
