"""The same small application three times: plain WSGI, Flask and Django.

POST /login    begins a session for the user named in the body
GET /ws        401 without a session, else a WebSocket; its 101 has a cookie, too
GET /open      a WebSocket for everybody
POST /notify   sends the body to all clients; answers with their number
GET /state     the process as JSON
"""
