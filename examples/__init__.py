"""Whole programs of 10 to 40 lines; README.md in this folder says what each shows."""
