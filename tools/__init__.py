"""Repository scripts: what measures, and what builds files of the package.

Run from the top of the checkout: python -m tools.FOLDER.NAME --help
"""
