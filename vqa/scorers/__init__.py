"""Scorers that have a network of their own: one file each, all behind the face of `vqa.load`."""
