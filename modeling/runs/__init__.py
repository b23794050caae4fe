"""Run folders: a trained model on disk, its checkpoints and scores."""
