"""Video encoders: faces and action units."""
