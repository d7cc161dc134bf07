"""Networks of our own, in plain PyTorch. Nothing here knows a checklist or a score."""
