"""From a network to a bundle. Imports networks, and making for its shards of pictures.

export.py           the whole way
sampling.py         pictures to calibrate and to verify with
conversion.py       quantized, and what the file is made of
verification.py     is it what the float network was? with canaries
runtimes.py         the two families of TFLite runtimes, each asked in a child;
invoking.py         what that child runs
transfer.py         what quantization costs in the end
report.py           what is said of it, for programs and as a page
"""
