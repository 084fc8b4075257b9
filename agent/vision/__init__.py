"""From a frame's bytes to a bottleneck, and by the head in service to what it shows.

formats.py     what the file of a picture says: which of its bytes decide its pixels, and how it is turned
image.py       from bytes to pixels, by Pillow
drawing.py     from lines and words to a picture, by Pillow too
bundle.py      a backbone's files: loaded, written
importing.py   a model from elsewhere, tried in a child process and made a bundle
pixels.py      what a network's input makes of the pixel bytes
backbone.py    the frozen network, from pixels to a bottleneck; the only place that imports a TFLite runtime
ahead.py       the pixels of several views, made while the backbone is at work for those before them
unchanged.py   whether a frame shows anything new
classifier.py  all of it in a row, for each view of a frame
probe.py       whether frames could be classified just now

Read classifier first: it is the whole way. Imports agent.board, agent.reporting, agent.records, agent.region and
agent.errors, and of
learning the head that it applies (solving) and the hash of a picture (pictures).
"""
