"""The main job: compares optimizers, on a classifier of handwritten digits or on a surface that shows them at work."""
