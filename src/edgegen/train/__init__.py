"""Making the built-in models: drawing, training, exporting. torch lives here; needs the `train` extra."""
