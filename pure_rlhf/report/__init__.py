"""Pages about runs: report.html of one, comparison.html of several. Self-contained HTML with Plotly's figures.

Reading order: `run` (a run directory read, and the page made of it), `panels` (which metrics stand together),
`figures` and `maps` (curves; bars and heat maps), `prm` (how good the PRM is), `reader` (answers), `page` (HTML and
scripts, also of the other pages of this project), `comparison`.
"""
