"""The Autobahn test suite and tables of our own, against our server and against others."""
