"""Repository scripts: what was measured, and what the package is made with.

Run from the top of the checkout: python -m tools.FOLDER.NAME --help
"""
