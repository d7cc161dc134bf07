"""Tests: one file per source file, and tests of the house itself."""
