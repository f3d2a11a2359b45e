"""The Autobahn test suite against our server, by several ways through the library."""
