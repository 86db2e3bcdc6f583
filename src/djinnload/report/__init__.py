"""A results directory, rendered: terminal, HTML, figures, tables."""
