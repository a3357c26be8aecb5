"""Recovery training: presets, packed data, resumable checkpoints and the one training loop."""
