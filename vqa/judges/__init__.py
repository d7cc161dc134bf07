"""Judges: whoever answers the questions. A judge knows a clip and questions, and no weights."""
