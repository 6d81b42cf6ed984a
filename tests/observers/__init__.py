"""Observers are told what happens to sessions, once, and change nothing."""
