"""From a config to a recorded, resumable run; no method is known here by name."""
