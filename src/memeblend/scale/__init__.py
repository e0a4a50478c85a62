"""Work that outgrows one process: any number of memes scored, models trained by several workers."""
