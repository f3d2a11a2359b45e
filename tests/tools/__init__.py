"""The repository's tools, each run for a moment on little input."""
