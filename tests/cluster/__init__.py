"""Several nodes on one Redis: tests, load and measurements, with the real programs."""
