"""The session protocol in every interleaving of its requests: the real code, stepped from one store call to the next.

``acts`` is what requests do, ``script`` runs one of them up to its next store call, ``world`` has the store, the browsers,
the clock and the crashes, ``beginnings`` is what is there before, ``scenarios`` says who sends what, and ``chance`` lets the
dice say it, ``invariants`` what has to hold, ``search`` goes through all that can happen, ``replay`` plays it on real
stores, and ``mutants`` breaks one rule of the package at a time.
"""
