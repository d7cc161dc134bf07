"""Benchmarks and calibration: everything that is measured rather than asserted. Not in the
wheel.
"""
