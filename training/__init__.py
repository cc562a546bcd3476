"""Training of the demo checkpoint: grammar, drawing, models, training runs, judge and export."""
