"""Probes: the encoder stays frozen, and numbers say what its features are good for.

features.py    pictures -> each layer's features, in one pass
sampling.py    which labelled pictures a draw gets, and which of them it holds out
classifier.py  what is fitted on features; linear.py and knn.py are two
measure.py     a network and pictures -> answers
record.py      answers -> the result record, with intervals and a verdict
"""
