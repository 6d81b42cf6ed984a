"""The session lab: a session seen live, from the browser and from the server; ``app.application`` is what serves it."""
