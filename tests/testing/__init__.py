"""What the package has for tests: of applications, and of stores."""
