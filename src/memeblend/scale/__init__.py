"""Work that outgrows one process: any number of memes scored, encoders pre-trained by several workers."""
