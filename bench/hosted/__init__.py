"""WebSockets in a web application: ours in Flask, flask-sock, Channels."""
