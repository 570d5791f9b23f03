"""What all experiments share: settings, splits as arrays, a run folder that can be resumed, provenance."""
