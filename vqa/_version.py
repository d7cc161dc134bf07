"""The version: part of every row and of every key in a results folder."""

__version__ = "0.1.0"
