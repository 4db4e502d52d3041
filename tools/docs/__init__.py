"""The docs site: what its build makes from the code, so that it cannot go stale.

`hooks` is what mkdocs calls; the rest are plain functions from sources to Markdown and SVG.
"""
