"""Flask, Django, Bottle and Pyramid side by side, with one session and one sign-in; ``app.application`` is all of them.

What they have in common is ``session.user_id``: each signs in with ``session.login()`` and asks it who is there.
"""
