"""Other projects' own tests, run over our sessions: ``python -m tests.others [suite ...]``.

Their source distributions are downloaded, pinned, into ``.others``. What cannot pass is listed with the reason; a failure
that is not listed fails the run, and so does a listed test that passes.
"""
