"""Models with custom train_step, callbacks, precision."""
