"""From raw data sets to validated tables of memes, and from image files to arrays of pixels.

`manifest.Manifest` is the one thing every later room takes: read it with `Manifest.read(path)`.
"""
