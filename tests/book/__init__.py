"""The book in docs/: what is fenced on its pages is run."""
