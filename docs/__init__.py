"""The book, and what makes parts of it."""
