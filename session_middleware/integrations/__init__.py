"""The session in web frameworks: one module or package for each, which imports its framework. Nothing else imports them."""
