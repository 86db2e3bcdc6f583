"""What ``report.html`` and the page of ``compare`` are made of.

One file each, that needs no network: templates, a style sheet and a short script beside
the drawings that `djinnload.report` makes. Why no plotting library draws in the page:
plotly's script is 4.8 MB, bokeh's 1.3 MB, of 2 MB that a report may have; both show
nothing where scripts are off, and neither follows a style sheet into dark mode or onto
paper; bokeh's canvas is empty to a screen reader. The SVG that lies in ``figures/``
does all of that. What our script adds is the value under the pointer, read from the CSV
that each figure offers; arms and classes are hidden by the style sheet alone.
"""
