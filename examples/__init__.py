"""Applications that use the package: one file for each framework, ``shared``, several of them with one sign-in,
and ``lab``, the session lab."""
