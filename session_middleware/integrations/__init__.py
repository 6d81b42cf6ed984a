"""The session in web frameworks: one module for each, which imports its framework. Nothing else imports them."""
