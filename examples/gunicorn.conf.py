"""How gunicorn serves the examples: ``gunicorn --config examples/gunicorn.conf.py examples.lab.app:application``."""

bind = "127.0.0.1:8000"

# Any number of processes and threads share the sessions. ``--preload`` works too: no connection goes over the fork.
workers = 2
worker_class = "gthread"
threads = 4

# Behind a proxy that ends TLS, the cookie is Secure once gunicorn believes the proxy's X-Forwarded-Proto. It believes
# a proxy on this machine; for one elsewhere write its address here. The proxy must set that header itself, also when
# the client has sent one.
# forwarded_allow_ips = "192.0.2.7"

# Nothing listens but the port above, and nothing is written to the home directory.
control_socket_disable = True
