"""Questions and weights as data: one YAML file per checklist, read by `vqa.checklist`."""
