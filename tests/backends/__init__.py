"""Real servers for the tests: each started on a free loopback port, in a directory of its own, and stopped by its pid."""
